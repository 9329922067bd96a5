"""How a convolution along rows is cut into chunks, tiles and blocks, and the form of its weights that follows from it.

A pair is two neighbouring results of a row. A tile is as many pairs, and a block as many output channels, as have the
products of a place in registers together; a chunk is some rows, whose products are made before any result.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..common.epilogue import Output
from ..common.sizes import CACHED
from ..convolution.conv2d import Conv2D
from ..processor.instruction import Instruction
from .rowwise_form import PLACES, RESULTS, SHAPE, Weights, middle

ALIGNED = 16  # bytes


@dataclass(frozen=True)
class RowwiseTiling:
    """The part of a plan that is a matter of speed alone.

    Parameters
    ----------
    vectors : int
        Vectors of output channels that are in registers together.
    tile : int
        Pairs whose products are.
    chunk : int
        Rows; divides their number.
    """

    vectors: int
    tile: int
    chunk: int


@dataclass(frozen=True)
class RowwisePlan:
    """A convolution along rows for one instruction, one form of result and one tiling.

    Parameters
    ----------
    conv : Conv2D
        One that `fits`.
    instruction : Instruction
        Of bytes: see `serves`.
    output : Output
    tiling : RowwiseTiling
    appended : tuple of int
        See `rowwise_form.Weights`.
    offset : int
        What the instruction has added to each transformed activation: see `instructions.choose`.
    """

    conv: Conv2D
    instruction: Instruction
    output: Output
    tiling: RowwiseTiling
    appended: tuple[int, ...] = ()
    offset: int = 0

    @property
    def pairs(self) -> int:
        """Of a row, filled up to whole tiles."""
        return -(-self.conv.out_width // (RESULTS * self.tiling.tile)) * self.tiling.tile

    @property
    def rows(self) -> int:
        """Of activations, padded."""
        return (self.conv.out_height - 1) * self.conv.strides[0] + self.conv.kernel[0]

    @property
    def chunks(self) -> int:
        """Of an image."""
        return self.conv.out_height // self.tiling.chunk

    @property
    def channels(self) -> int:
        """Of a pixel: input channels and appended ones, filled up to whole products."""
        held = self.conv.in_channels + len(self.appended)
        return -(-held // self.instruction.pairs) * self.instruction.pairs

    @property
    def vector(self) -> int:
        """Input channels that are copied at once."""
        return next(n for n in (16, 8, 4, 2, 1) if self.conv.in_channels % n == 0)

    @property
    def room(self) -> int:
        """Of a pixel that is padded: the same in whole vectors."""
        return -(-self.channels // self.vector) * self.vector

    @property
    def run(self) -> int:
        """Transformed activations of a result that lie side by side: of all kernel rows."""
        return self.conv.kernel[0] * self.channels

    @property
    def steps(self) -> int:
        """Uses of the instruction that consume a run."""
        return -(-self.run // self.instruction.depth)

    @property
    def stored_rows(self) -> int:
        """Rows of transformed activations, so many that the last run's steps end in them, and pairs are aligned."""
        least = self.rows + -(-(self.steps * self.instruction.depth - self.run) // self.channels)
        return next(rows for rows in itertools.count(least) if rows * self.channels % ALIGNED == 0)

    @property
    def block(self) -> int:
        """Output channels of a block."""
        return self.tiling.vectors * self.instruction.lanes

    @property
    def blocks(self) -> int:
        """Blocks of output channels."""
        return -(-self.conv.out_channels // self.block)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(block, place, step, vector, *what the instruction takes)."""
        start = self.blocks, PLACES, self.steps, self.tiling.vectors
        return (*start, *self.instruction.weight_shape)

    @property
    def weight_dtype(self) -> str:
        """Of the packed weights."""
        return self.instruction.weight

    @property
    def block_bytes(self) -> int:
        """Bytes of weights for a block and a place."""
        return math.prod(self.weight_shape[2:])

    @property
    def beyond_l1(self) -> bool:
        """Whether they do not stay in the first cache."""
        return self.block_bytes > CACHED

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The result in whole tiles and blocks."""
        return self.conv.batch, self.conv.out_height, RESULTS * self.pairs, self.blocks * self.block


def fits(conv: Conv2D) -> bool:
    """Whether a convolution has the shape that these kernels are for."""
    return (conv.kernel[1], conv.strides[1], conv.dilation, conv.groups) == SHAPE


def serves(ins: Instruction) -> bool:
    """Whether an instruction multiplies bytes and adds their products to int32, for the channels of one pixel."""
    special = ins.chains or ins.staged or ins.matrix or ins.sums or ins.pixels > 1 or ins.lanes_per_channel > 1
    return ins.fused and not special and ins.weight == "int8"


def constants(
    plan: RowwisePlan, weights: Weights, span: tuple[int, int], bias: np.ndarray, multiplier: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the kernel takes besides activations: zeros where a block is not full.

    Parameters
    ----------
    plan : RowwisePlan
    weights : Weights
    span : (int, int)
        Of the activations as stored.
    bias : numpy.ndarray
        int32 (O,), for activations as they are stored.
    multiplier : numpy.ndarray
        float32 (O,).

    Returns
    -------
    u : numpy.ndarray
        int8, `plan.weight_shape`.
    bias : numpy.ndarray
        int32 (2, blocks * block): of a pair's results.
    multiplier : numpy.ndarray
        float32 (blocks * block,), of the shifted accumulator: dividing by a power of two changes no rounding.
    """
    ins, (_, outputs, rows, channels) = plan.instruction, weights.u.shape
    u = np.zeros((PLACES, plan.blocks * plan.block, rows, plan.channels), "int64")
    u[:, :outputs, :, :channels] = weights.u
    full = np.zeros((*u.shape[:2], plan.steps * ins.depth), "int64")
    full[..., : plan.run] = u.reshape(*u.shape[:2], -1)
    added = np.array(middle(span)) - plan.offset  # to what is multiplied, for it to be what was transformed
    moved = added[:, None] * full.sum(2)
    beyond = 0, plan.blocks * plan.block - outputs
    biases = np.pad(bias.astype("int64") << weights.shift, beyond) + np.stack(
        [moved[0] + moved[1] + moved[2], moved[1] - moved[2] - moved[3]]
    )
    order = full.reshape(PLACES, plan.blocks, plan.tiling.vectors, ins.lanes, plan.steps, ins.links, ins.pairs)
    packed = order.transpose(1, 0, 4, 2, 5, 3, 6).reshape(plan.weight_shape)
    return (
        np.ascontiguousarray(packed, ins.weight),
        biases.astype("int32"),
        np.pad(np.ldexp(multiplier, -weights.shift), beyond),
    )
