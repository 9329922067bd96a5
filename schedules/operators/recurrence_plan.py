"""What a recurrent layer computes, how its weights are packed, and what is computed together."""

from dataclasses import dataclass

from .gate_functions import GateFunction

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}  # in ONNX's order: i o f c, z r h
_ACCUMULATORS = 64  # elements: a block's columns, of all sequences that are computed together
_TOGETHER = 2


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
    def together(self) -> int:
        """Sequences that are computed together, so that weights are loaded once for them."""
        return 1 if self.batch % _TOGETHER or "lengths" in self.optional else _TOGETHER

    @property
    def width(self) -> int:
        """Columns of a block of weights."""
        return min(_ACCUMULATORS // self.together, max(16, 1 << (self.hidden - 1).bit_length()))

    @property
    def blocks(self) -> int:
        """Blocks of one gate's weights; the last one is filled up with zeros."""
        return -(-self.hidden // self.width)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of packed weights: direction, gate, block, row (element of the state), column."""
        return len(self.directions), GATES[self.cell], self.blocks, self.hidden, self.width

    @property
    def projected_shape(self) -> tuple[int, int]:
        """Of the projected inputs."""
        return self.steps * self.batch, len(self.directions) * GATES[self.cell] * self.hidden

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
