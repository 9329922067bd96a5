"""What the cells of recurrent layers compute for one element of a sequence: LSTM, GRU and RNN, by ONNX's definition."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tvm import tirx
from tvm.ir import Expr

from .gate_functions import clipped
from .recurrence_plan import GATES, Recurrence


@dataclass(frozen=True)
class Sequence:
    """Sequence n of the batch in one direction: its operands, and its memory."""

    plan: Recurrence
    buffers: dict[str, tirx.Buffer]
    direction: int
    n: Expr
    gates: tirx.Buffer = field(init=False)

    def __post_init__(self) -> None:
        columns = self.plan.blocks * self.plan.width
        object.__setattr__(self, "gates", tirx.decl_buffer((GATES[self.plan.cell], columns), "float32", "gates"))

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
        """Function f or g of ONNX's definition, of what a gate sums."""
        clip = self.plan.clip
        return self.unclipped(index, x if clip is None else clipped(x, clip))

    def unclipped(self, index: int, x: Expr) -> Expr:
        """Function h, of the state: ONNX Runtime clips gates only."""
        return self.plan.directions[self.direction].functions[index](x)

    def put(self, name: str, j: Expr, value: Expr) -> tirx.Stmt:
        """Store element j of the state h or c."""
        return tirx.BufferStore(self.buffers[name], value, self.at(j))

    def put_result(self, t: Expr, j: Expr, value: Expr) -> tirx.Stmt:
        """Store element j of the result for element t of the sequence."""
        indices = (self.n, t, self.direction, j) if self.plan.batch_first else (t, self.direction, self.n, j)
        return tirx.BufferStore(self.buffers["y"], value, indices)


@dataclass(frozen=True)
class Products:
    """A stage: gates' products of weights and a vector, whose element k is `factor(sequence, k)`."""

    gates: range
    factor: Callable[[Sequence, Expr], Expr]


Update = Callable[[Sequence, Expr, Expr], list[tirx.Stmt]]  # a stage: what is done for element t, and j of the state


def stages(plan: Recurrence) -> tuple[Products | Update, ...]:
    """What is computed for an element of a sequence, one after the other."""
    if plan.cell == "LSTM":
        return Products(range(4), _state), _lstm
    if plan.cell == "RNN":
        return Products(range(1), _state), _rnn
    if plan.reset_after:
        return Products(range(3), _state), _gru
    return Products(range(2), _state), _reset, Products(range(2, 3), lambda this, k: this.gates[1, k]), _gru


def _state(this: Sequence, k: Expr) -> Expr:
    return this.state("h", k)


def _lstm(this: Sequence, t: Expr, j: Expr) -> list[tirx.Stmt]:
    i, o, f, c = (this.projected(t, gate, j) + this.gates[gate, j] for gate in range(4))
    entered = this.function(0, i + this.peephole(0, j))
    kept = 1.0 - entered if this.plan.coupled else this.function(0, f + this.peephole(2, j))
    return [
        this.put("c", j, kept * this.state("c", j) + entered * this.function(1, c)),
        this.put("h", j, this.function(0, o + this.peephole(1, j)) * this.unclipped(2, this.state("c", j))),
    ]


def _rnn(this: Sequence, t: Expr, j: Expr) -> list[tirx.Stmt]:
    return [this.put("h", j, this.function(0, this.projected(t, 0, j) + this.gates[0, j]))]


def _reset(this: Sequence, t: Expr, j: Expr) -> list[tirx.Stmt]:
    """The gate's sum is replaced by what the hidden gate's weights are multiplied with."""
    return [tirx.BufferStore(this.gates, _gru_gate(this, 1, t, j) * this.state("h", j), [1, j])]


def _gru(this: Sequence, t: Expr, j: Expr) -> list[tirx.Stmt]:
    hidden = this.gates[2, j]
    if "hidden_bias" in this.buffers:
        hidden += this.buffers["hidden_bias"][this.direction, j]
    if this.plan.reset_after:
        hidden *= _gru_gate(this, 1, t, j)
    fresh, z = this.function(1, this.projected(t, 2, j) + hidden), tirx.Var("z", "float32")
    mixed = tirx.Let(z, _gru_gate(this, 0, t, j), (1.0 - z) * fresh + z * this.state("h", j))
    return [this.put("h", j, mixed)]


def _gru_gate(this: Sequence, index: int, t: Expr, j: Expr) -> Expr:
    return this.function(0, this.projected(t, index, j) + this.gates[index, j])
