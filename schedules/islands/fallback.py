"""A schedule for any function that has none: inline, share among threads, vectorize. Correct for everything."""

import math
from collections.abc import Iterable

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.runtime import Object
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx import IterVar

from ..common.sizes import PARALLEL_FROM, innermost_width
from ..common.transcendental import without_libm
from .rows import by_rows

# Functions that are polynomials here, by how much they weigh where they are in each other: the time of TVM's passes
# grows with the power of that, to many minutes for four hyperbolic tangents. Mish weighs 4.
POLYNOMIALS = {"exp": 1, "log": 1, "sigmoid": 1, "tanh": 2, "erf": 2}
COSTLY = (*POLYNOMIALS, "pow", "sqrt", "sin", "cos", "tan")
_NESTED = 4
_MOST_LOADS = (
    256  # in an expression: TVM's passes visit each, and there are 2^n where a tensor is added to itself n times
)


def fallback(func: tirx.PrimFunc, lanes: int = 16) -> tirx.PrimFunc:
    """Schedule a function as well as its loops allow.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Unscheduled: each block stands in its own loops, one loop for each block axis. One without a root, as TVM writes
        scatter_elements, stays as it is.
    lanes : int
        Elements per vector.

    Returns
    -------
    tvm.tirx.PrimFunc
    """
    if not isinstance(func.body, s_tir.SBlockRealize) or func.body.block.name_hint != "root":
        return without_libm(func)
    try:
        scheduled = by_rows(_inlined(func), lanes)
    except s_tir.ScheduleError:
        scheduled = None
    return without_libm(scheduled or _block_by_block(_inlined(func), lanes))


def _inlined(func: tirx.PrimFunc) -> s_tir.Schedule:
    """A schedule of a function whose blocks are computed where they are read, if that costs little."""
    sch = s_tir.Schedule(func)
    for block in sch.get_child_blocks(sch.get_sblock("root"))[:-1]:
        if _is_costly(sch, block) and (_is_read_often(sch, block) or _is_nested_deeply(sch, block)):
            continue
        if _loads_where_read(sch, block) > _MOST_LOADS:
            continue
        try:
            sch.compute_inline(block)
        except s_tir.ScheduleError:
            continue  # a reduction, or read in a way that needs it whole
    return sch


def _is_costly(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether there is a function in a block, other than those that LLVM has an instruction for."""
    return bool(_calls(sch.get(block).body, COSTLY))


def _is_nested_deeply(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether there would be too many polynomials in each other where a block is read."""
    readers = [_depth(sch.get(reader).body) for reader in sch.get_consumers(block)]
    return _depth(sch.get(block).body) + max(readers, default=0) > _NESTED


def _loads_where_read(sch: s_tir.Schedule, block: SBlockRV) -> int:
    """How many elements would be loaded in place of a block's result, by the reader that reads it most often."""
    made, readers = sch.get(block), [sch.get(reader).body for reader in sch.get_consumers(block)]
    reads = [_loads(reader, write.source) for reader in readers for write in made.writes]
    return _loads(made.body) * max(reads, default=0)


def _loads(part: Object, source: tirx.Buffer | None = None) -> int:
    """How often elements are loaded, of one buffer or of any."""
    found = 0

    def note(load: TensorLoad) -> None:
        nonlocal found
        found += source is None or load.source.same_as(source)

    tvm_ffi.structural_walk(part, (TensorLoad, note))
    return found


def _depth(part: Object) -> int:
    """What the polynomials that are in each other weigh."""
    return max(
        (
            weight + max(map(_depth, call.args))
            for name, weight in POLYNOMIALS.items()
            for call in _calls(part, [f"tirx.{name}"])
        ),
        default=0,
    )


def _calls(part: Object, functions: Iterable[str]) -> list[Call]:
    """All calls of some functions."""
    found: list[Call] = []

    def note(call: Call) -> None:
        if any(function in str(call.op) for function in functions):
            found.append(call)

    tvm_ffi.structural_walk(part, (Call, note))
    return found


def _is_read_often(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether elements of what a block makes are read several times."""
    readers = sch.get_consumers(block)
    return len(readers) > 1 or any(_size(sch, reader) > _size(sch, block) for reader in readers)


def _size(sch: s_tir.Schedule, block: SBlockRV) -> int:
    return math.prod(int(axis.dom.extent) for axis in sch.get(block).iter_vars)


def _block_by_block(sch: s_tir.Schedule, lanes: int) -> tirx.PrimFunc:
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        _schedule_block(sch, block, lanes)
    return next(iter(sch.mod.functions.values()))


def _schedule_block(sch: s_tir.Schedule, block: SBlockRV, lanes: int) -> None:
    """Threads share the outer axes of the result, and the last one that is longer than 1 is cut into vectors."""
    loops, axes = sch.get_loops(block), sch.get(block).iter_vars
    if len(loops) != len(axes) or not loops:
        return
    spatial = [loop for loop, axis in zip(loops, axes, strict=True) if axis.iter_type == IterVar.DataPar]
    reduction = [loop for loop, axis in zip(loops, axes, strict=True) if axis.iter_type == IterVar.CommReduce]
    if len(spatial) + len(reduction) != len(loops) or not spatial:
        return
    work = 1
    for loop in loops:
        work *= int(sch.get(loop).extent)
    long = [loop for loop in spatial if int(sch.get(loop).extent) > 1] or spatial
    *outer, last = [loop for loop in spatial if loop not in long] + long  # axes of extent 1 may stand anywhere
    width = innermost_width(int(sch.get(last).extent), lanes)
    rest, vector = sch.split(last, [None, width])
    sch.reorder(*outer, rest, *reduction, vector)
    if width > 1:
        sch.vectorize(vector)
    # Where no vector divides the last axis, it stays a loop of its own, for LLVM to vectorize.
    shared = sch.fuse(*outer) if width == 1 and outer else sch.fuse(*outer, rest)
    if work >= PARALLEL_FROM:
        sch.parallel(shared)
    if reduction:
        init = sch.decompose_reduction(block, reduction[0])
        if width > 1:
            sch.vectorize(sch.get_loops(init)[-1])
