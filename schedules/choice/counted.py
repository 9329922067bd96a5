"""What a scheduled function costs, by its code: for kernels of which there is one. For others see `cost`."""

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir.expr import Expr, TensorLoad

from ..processor.instructions import vector_bits
from ..processor.machine import Machine

_STORES = 1.0  # of vectors per cycle
_ARITHMETIC = 3.0  # units for vectors that a wide processor has
_LOOP = 2.0  # instructions to go on
_CALLED = {"tirx.exp": 20.0, "tirx.log": 20.0, "tirx.tanh": 25.0, "tirx.sigmoid": 25.0, "tirx.erf": 30.0}  # polynomials


def counted_cycles(function: tirx.PrimFunc, machine: Machine) -> float:
    """Estimated cycles of one core: loads, stores and other instructions of vectors, as the loops repeat them.

    Where there are two ways to go, the dearer one counts. Addresses cost nothing, and what LLVM does to the code is not
    known: an estimate to compare functions that do alike.

    Parameters
    ----------
    function : tvm.tirx.PrimFunc
        Scheduled: loops over vectors are marked as vectorized.
    machine : Machine
    """
    count = _statement(function.body, 1, vector_bits(machine.instructions.keys()))
    arithmetic = count.instructions / min(_ARITHMETIC, machine.issue)
    everything = (count.instructions + count.loads + count.stores) / machine.issue
    return max(arithmetic, everything, count.loads / machine.loads, count.stores / _STORES)


@dataclass(frozen=True)
class _Count:
    """Of what a processor does."""

    loads: float = 0.0
    stores: float = 0.0
    instructions: float = 0.0

    def __add__(self, other: "_Count") -> "_Count":
        return _Count(self.loads + other.loads, self.stores + other.stores, self.instructions + other.instructions)

    def __mul__(self, times: float) -> "_Count":
        return _Count(self.loads * times, self.stores * times, self.instructions * times)

    @property
    def all(self) -> float:
        return self.loads + self.stores + self.instructions


def _statement(node: Any, lanes: int, bits: int) -> _Count:
    """Of a statement inside of a loop over so many lanes of vectors of `bits` bits."""
    if isinstance(node, tirx.For):
        extent = int(node.extent) if isinstance(node.extent, int | tirx.IntImm) else 1
        if node.kind == tirx.ForKind.VECTORIZED:
            return _statement(node.body, lanes * extent, bits)
        loop = 0.0 if node.kind == tirx.ForKind.UNROLLED else _LOOP
        return (_statement(node.body, lanes, bits) + _Count(instructions=loop)) * extent
    if isinstance(node, tirx.IfThenElse):
        ways = [_statement(way, lanes, bits) for way in (node.then_case, node.else_case) if way is not None]
        return max(ways, key=lambda way: way.all)
    if isinstance(node, tirx.BufferStore):
        stored = _vectors(node.value, lanes, bits)
        return _expression(node.value, lanes, bits) + _Count(stores=stored)
    if isinstance(node, tirx.SeqStmt):
        return sum((_statement(each, lanes, bits) for each in node.seq), _Count())
    total = _Count()
    for name in ("init", "body", "block"):
        if (part := getattr(node, name, None)) is not None:
            total += _statement(part, lanes, bits)
    for name in ("value", "condition"):
        part = getattr(node, name, None)
        if isinstance(part, Expr) and not isinstance(node, tirx.AttrStmt):
            total += _expression(part, lanes, bits)
    return total


def _expression(node: Any, lanes: int, bits: int) -> _Count:
    """Of an expression; indices of what is loaded cost nothing."""
    if isinstance(node, TensorLoad):
        return _Count(loads=_vectors(node, lanes, bits))
    parts = [getattr(node, name, None) for name in _OPERANDS] + list(getattr(node, "args", None) or ())
    operands = [part for part in parts if isinstance(part, Expr)]
    if not operands:
        return _Count()  # a constant, or a variable
    each = _CALLED.get(getattr(getattr(node, "op", None), "name", ""), 1.0)
    total = _Count(instructions=each * max(_vectors(part, lanes, bits) for part in (node, *operands)))
    return sum((_expression(part, lanes, bits) for part in operands), total)


_OPERANDS = ("a", "b", "value", "condition", "true_value", "false_value", "vectors")


def _vectors(node: Any, lanes: int, bits: int) -> float:
    """How many vectors a value takes."""
    dtype = getattr(node.ty, "dtype", None)
    width, own = (32, 1) if dtype is None else (dtype.bits, dtype.lanes)
    return max(1.0, lanes * own * max(width, 8) / bits)
