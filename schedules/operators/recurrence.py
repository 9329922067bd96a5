"""Recurrent layers in float32: LSTM, GRU and RNN of ONNX, from the inputs' projection on.

The plain algorithm, of one sequence in one direction, for each of its elements in turn:

    gates[g] = projected[t, g] + h . R[g]       for each gate g; `_products` computes the second part
    h (and c) = the cell's function of the gates, and of h (and c) before
    y[t] = h

Blocked: the columns of R[g] are cut into blocks that are as wide as the accumulators that registers hold, and each
block's rows follow each other in memory. Functions of gates are loops over single elements, which LLVM vectorizes.
Sequences and directions do not depend on each other: threads share them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tvm import s_tir, tirx
from tvm.ir import Expr

from ..common.lowered import on_stack
from ..common.vectors import get, local, loop, put, seq
from .fallback import PARALLEL_FROM
from .gate_functions import GateFunction, clipped

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}  # in ONNX's order: i o f c, z r h
_WIDEST = 64  # columns of a block


@dataclass(frozen=True)
class Direction:
    """One pass over the sequence: from its end on, if `reverse`; `functions` are f, g and h of ONNX's definition."""

    reverse: bool
    functions: tuple[GateFunction, ...]


@dataclass(frozen=True)
class Recurrence:
    """A recurrent layer.

    Attributes
    ----------
    cell : {"LSTM", "GRU", "RNN"}
    steps, batch, hidden : int
        Elements of a sequence, sequences, and elements of the state.
    directions : tuple of Direction
    batch_first : bool
        Sequences are the first axis of everything (ONNX: layout 1).
    optional : frozenset of str
        Those of `OPTIONAL` that are given.
    clip : float, optional
        Bound of what functions of gates are applied to.
    reset_after : bool
        Of a GRU: the reset gate is applied to the product with the state (ONNX: linear_before_reset).
    coupled : bool
        Of an LSTM: the forget gate is 1 - the input gate (ONNX: input_forget).
    """

    cell: str
    steps: int
    batch: int
    hidden: int
    directions: tuple[Direction, ...]
    batch_first: bool = False
    optional: frozenset[str] = frozenset()
    clip: float | None = None
    reset_after: bool = False
    coupled: bool = False

    @property
    def width(self) -> int:
        """Columns of a block of weights."""
        return min(_WIDEST, max(16, 1 << (self.hidden - 1).bit_length()))

    @property
    def blocks(self) -> int:
        """Blocks of one gate's weights; the last one is filled up with zeros."""
        return -(-self.hidden // self.width)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of packed weights: direction, gate, block, row (element of the state), column."""
        return len(self.directions), GATES[self.cell], self.blocks, self.hidden, self.width

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of the state in front of the sequences and behind them."""
        return self._arranged(len(self.directions), self.batch)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Of the states after each element."""
        if self.batch_first:
            return self.batch, self.steps, len(self.directions), self.hidden
        return self.steps, len(self.directions), self.batch, self.hidden

    def _arranged(self, direction: int, n: int) -> tuple[int, ...]:
        return (n, direction, self.hidden) if self.batch_first else (direction, n, self.hidden)

    @property
    def optional_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the optional operands that the cell can have."""
        directions = len(self.directions)
        return {
            "hidden_bias": (directions, self.hidden),
            "lengths": (self.batch,),
            "initial_h": self.state_shape,
            "initial_c": self.state_shape,
            "peepholes": (directions, 3 * self.hidden),
        }


# In the order of the function's arguments: the hidden gate's second bias of a GRU with `reset_after`, how many elements
# of each sequence count (int32), the state in front of the first, and the weights of c in an LSTM's gates i, o, f
OPTIONAL = ("hidden_bias", "lengths", "initial_h", "initial_c", "peepholes")


def recurrence(plan: Recurrence) -> tirx.PrimFunc:
    """PrimFunc of a recurrent layer.

    Parameters
    ----------
    plan : Recurrence

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments, float32: the projected inputs, biases included (steps * batch, directions * gates * hidden), with
        rows in the order of the inputs; the packed weights of the state; the operands in `plan.optional`; the results
        y, h and, of an LSTM, c.
    """
    inputs = {"projected": _projected_shape(plan), "weights": plan.weight_shape}
    inputs |= {name: plan.optional_shapes[name] for name in OPTIONAL if name in plan.optional}
    outputs = {"y": plan.result_shape, "h": plan.state_shape}
    outputs |= {"c": plan.state_shape} if plan.cell == "LSTM" else {}
    buffers = {
        name: tirx.decl_buffer(shape, "int32" if name == "lengths" else "float32", name)
        for name, shape in (inputs | outputs).items()
    }
    tasks = len(plan.directions) * plan.batch
    work = tasks * plan.steps * plan.hidden * plan.hidden * GATES[plan.cell]
    kind = tirx.ForKind.PARALLEL if tasks > 1 and work >= PARALLEL_FROM else tirx.ForKind.SERIAL

    def task(at: Expr) -> list[tirx.Stmt]:
        forward, *backward = (
            _sequence(_Sequence(plan, buffers, d, at % plan.batch)) for d in range(len(plan.directions))
        )
        return [tirx.IfThenElse(at < plan.batch, forward, backward[0])] if backward else [forward]

    root = s_tir.SBlock([], [], [], "root", loop("task", tasks, task, kind))
    return tirx.PrimFunc(list(buffers.values()), s_tir.SBlockRealize([], True, root))


def _projected_shape(plan: Recurrence) -> tuple[int, int]:
    return plan.steps * plan.batch, len(plan.directions) * GATES[plan.cell] * plan.hidden


@dataclass(frozen=True)
class _Sequence:
    """Sequence n of the batch in one direction: its operands, and its memory."""

    plan: Recurrence
    buffers: dict[str, tirx.Buffer]
    direction: int
    n: Expr
    gates: tirx.Buffer = field(init=False)
    sums: tirx.Buffer = field(init=False)

    def __post_init__(self) -> None:
        columns = self.plan.blocks * self.plan.width
        object.__setattr__(self, "gates", tirx.decl_buffer((GATES[self.plan.cell], columns), "float32", "gates"))
        object.__setattr__(self, "sums", local((1, self.plan.width), "float32", "sums"))

    def projected(self, t: Expr, gate: int, j: Expr) -> Expr:
        """Element j of a gate's projected input t."""
        plan = self.plan
        row = self.n * plan.steps + t if plan.batch_first else t * plan.batch + self.n
        return self.buffers["projected"][row, (self.direction * GATES[plan.cell] + gate) * plan.hidden + j]

    def at(self, j: Expr) -> tuple[Expr, ...]:
        """Indices of element j of a state."""
        return (self.n, self.direction, j) if self.plan.batch_first else (self.direction, self.n, j)

    def state(self, name: str, j: Expr) -> Expr:
        """Element j of the state h or c."""
        return self.buffers[name][self.at(j)]

    def peephole(self, gate: int, j: Expr) -> Expr:
        """What element j of c adds to a gate, i, o or f."""
        if "peepholes" not in self.buffers:
            return tirx.const(0, "float32")
        return self.buffers["peepholes"][self.direction, gate * self.plan.hidden + j] * self.state("c", j)

    def function(self, index: int, x: Expr) -> Expr:
        """Function f, g or h of ONNX's definition."""
        clip = self.plan.clip
        return self.plan.directions[self.direction].functions[index](x if clip is None else clipped(x, clip))

    def put(self, name: str, j: Expr, value: Expr) -> tirx.Stmt:
        """Store element j of the state h or c."""
        return tirx.BufferStore(self.buffers[name], value, self.at(j))

    def put_result(self, t: Expr, j: Expr, value: Expr) -> tirx.Stmt:
        """Store element j of the result for element t of the sequence."""
        indices = (self.n, t, self.direction, j) if self.plan.batch_first else (t, self.direction, self.n, j)
        return tirx.BufferStore(self.buffers["y"], value, indices)


def _sequence(this: _Sequence) -> tirx.Stmt:
    plan, length = this.plan, this.plan.steps
    zero = tirx.const(0, "float32")

    def begin(j: Expr) -> list[tirx.Stmt]:
        names = [name for name in ("h", "c") if name in this.buffers]
        given = {name: this.buffers.get(f"initial_{name}") for name in names}
        return [this.put(name, j, zero if first is None else first[this.at(j)]) for name, first in given.items()]

    if "lengths" in this.buffers:
        length = tirx.max(tirx.min(this.buffers["lengths"][this.n], plan.steps), 0)

    def element(step: Expr) -> list[tirx.Stmt]:
        t = length - 1 - step if plan.directions[this.direction].reverse else step
        computed = [*_CELLS[plan.cell](this, t), _each(this, lambda j: [this.put_result(t, j, this.state("h", j))])]
        if "lengths" not in this.buffers:
            return computed
        beyond = _each(this, lambda j: [this.put_result(step, j, zero)])
        return [tirx.IfThenElse(step < length, seq(computed), beyond)]

    memory = [tirx.AllocBuffer(this.gates), on_stack(this.sums)]
    return seq([*memory, _each(this, begin), loop("step", plan.steps, element)])


def _each(this: _Sequence, body: Callable[[Expr], list[tirx.Stmt]]) -> tirx.Stmt:
    return loop("j", this.plan.hidden, body)


def _products(this: _Sequence, gates: range, element: Callable[[Expr], Expr]) -> tirx.Stmt:
    """Some gates' products of a vector (`element` k of it) and weights."""
    plan, sums = this.plan, this.sums

    def block(gate: Expr, at: Expr) -> list[tirx.Stmt]:
        def row(k: Expr) -> list[tirx.Stmt]:
            weights = get(this.buffers["weights"], [this.direction, gate, at, k])
            return [put(sums, [0], get(sums, [0]) + tirx.Broadcast(element(k), plan.width) * weights)]

        columns = tirx.Ramp(at * plan.width, 1, plan.width)
        start = put(sums, [0], tirx.Broadcast(tirx.const(0, "float32"), plan.width))
        return [start, loop("k", plan.hidden, row), tirx.BufferStore(this.gates, get(sums, [0]), [gate, columns])]

    def blocks(gate: Expr) -> list[tirx.Stmt]:
        return [loop("block", plan.blocks, lambda at: block(gates.start + gate, at))]

    return loop("gate", len(gates), blocks)


def _lstm(this: _Sequence, t: Expr) -> list[tirx.Stmt]:
    def update(j: Expr) -> list[tirx.Stmt]:
        i, o, f, c = (this.projected(t, gate, j) + this.gates[gate, j] for gate in range(4))
        entered = this.function(0, i + this.peephole(0, j))
        kept = 1.0 - entered if this.plan.coupled else this.function(0, f + this.peephole(2, j))
        return [
            this.put("c", j, kept * this.state("c", j) + entered * this.function(1, c)),
            this.put("h", j, this.function(0, o + this.peephole(1, j)) * this.function(2, this.state("c", j))),
        ]

    return [_products(this, range(4), lambda k: this.state("h", k)), _each(this, update)]


def _gru(this: _Sequence, t: Expr) -> list[tirx.Stmt]:
    def gate(index: int, j: Expr) -> Expr:
        return this.function(0, this.projected(t, index, j) + this.gates[index, j])

    def reset(j: Expr) -> list[tirx.Stmt]:
        return [tirx.BufferStore(this.gates, gate(1, j) * this.state("h", j), [1, j])]

    def update(j: Expr) -> list[tirx.Stmt]:
        hidden = this.gates[2, j]
        if "hidden_bias" in this.buffers:
            hidden += this.buffers["hidden_bias"][this.direction, j]
        if this.plan.reset_after:
            hidden *= gate(1, j)
        fresh, z = this.function(1, this.projected(t, 2, j) + hidden), tirx.Var("z", "float32")
        return [this.put("h", j, tirx.Let(z, gate(0, j), (1.0 - z) * fresh + z * this.state("h", j)))]

    state = lambda k: this.state("h", k)  # noqa: E731
    if this.plan.reset_after:
        return [_products(this, range(3), state), _each(this, update)]
    last = _products(this, range(2, 3), lambda k: this.gates[1, k])
    return [_products(this, range(2), state), _each(this, reset), last, _each(this, update)]


def _rnn(this: _Sequence, t: Expr) -> list[tirx.Stmt]:
    def update(j: Expr) -> list[tirx.Stmt]:
        return [this.put("h", j, this.function(0, this.projected(t, 0, j) + this.gates[0, j]))]

    return [_products(this, range(1), lambda k: this.state("h", k)), _each(this, update)]


_CELLS: dict[str, Callable[[_Sequence, Expr], list[tirx.Stmt]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
