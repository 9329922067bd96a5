"""How a direct convolution is cut into tiles, blocks and runs, and the order of its weights that follows from it.

A "run" is a stretch of activations that lie side by side in memory: the input channels of one tap, or, where they do
not fill the instruction, the channels of a whole kernel row. `steps` uses of the instruction consume it. Weights stand
as [group, block, kh, tap, step, vector, chain, lane, pair].
"""

import math
from dataclasses import dataclass

import numpy as np

from ..common.epilogue import Output
from ..common.sizes import CACHED
from ..processor import packing
from ..processor.instructions import Instruction
from .conv2d import Conv2D

TILES = 8  # whose results are stored together, where a tile has few
WRITTEN_OUT = 256  # products of a tile, which the cache of decoded instructions holds


@dataclass(frozen=True)
class DirectTiling:
    """The part of a plan that is a matter of speed alone.

    Parameters
    ----------
    vectors : int
        Vectors of output channels whose accumulators are in registers together: a block.
    tile : int
        Neighbouring pixels whose accumulators are in registers together.
    chunk : int
        Rows of pixels (tiles, where there is one row) that a thread computes with one block's weights, before the
        next block.
    patches : bool
        The whole kernel is one run: what a row of results reads is copied, patch by patch.
    """

    vectors: int
    tile: int
    chunk: int = 1
    patches: bool = False


@dataclass(frozen=True)
class DirectPlan:
    """A convolution for one instruction, one form of result and one tiling.

    Parameters
    ----------
    conv : Conv2D
    instruction : Instruction
    output : Output
    tiling : DirectTiling
    """

    conv: Conv2D
    instruction: Instruction
    output: Output
    tiling: DirectTiling

    @property
    def group_in(self):
        return self.conv.in_channels // self.conv.groups

    @property
    def group_out(self):
        return self.conv.out_channels // self.conv.groups

    @property
    def by_row(self):
        """Whether a run is a whole kernel row, as its pixels' channels alone would waste much of the instruction."""
        conv = self.conv
        return (
            conv.groups == 1
            and conv.dilation[1] == 1
            and (self.tiling.patches or self.group_in % self.instruction.depth != 0)
        )

    @property
    def kernel_rows(self):
        """Runs one below the other, of `taps` side by side."""
        return 1 if self.tiling.patches else self.conv.kernel[0]

    @property
    def taps(self):
        return 1 if self.by_row else self.conv.kernel[1]

    @property
    def row(self):
        """Elements of a kernel row that lie side by side."""
        return self.group_in * (self.conv.kernel[1] if self.by_row else 1)

    @property
    def run(self):
        return self.row * (self.conv.kernel[0] if self.tiling.patches else 1)

    @property
    def steps(self):
        return -(-self.run // self.instruction.depth)

    @property
    def block(self):
        return self.tiling.vectors * self.instruction.channels

    @property
    def blocks(self):
        return -(-self.group_out // self.block)

    @property
    def padded_columns(self):
        return -(-self.conv.out_width // self.tiling.tile) * self.tiling.tile

    @property
    def packs(self):
        """Whether four vectors are packed to bytes together: see `packing`."""
        return (
            self.block == packing.BLOCK
            and self.instruction.lanes == 16
            and self.output.dtype in ("int8", "uint8")
            and self.output.residual in (None, "uint8")
            and self.group_out % packing.BLOCK == 0
            and self.padded_columns == self.conv.out_width
        )

    @property
    def weight_shape(self):
        ins, vectors = self.instruction, self.tiling.vectors
        link, *rest = ins.weight_shape
        order = (link, vectors) if ins.chains else (vectors, link)
        return (self.conv.groups, self.blocks, self.kernel_rows, self.taps, self.steps, *order, *rest)

    @property
    def block_bytes(self):
        """Bytes of a block of weights."""
        return math.prod(self.weight_shape[2:]) * np.dtype(self.instruction.weight).itemsize

    @property
    def far(self):
        """Whether a block of weights does not stay in the first cache."""
        return self.block_bytes > CACHED

    @property
    def unrolled(self):
        """Whether the code of a tile is written out.

        Weights that a single pixel uses are read by the instruction that multiplies them. Where a loop counts, their
        address has an index, and AVX2 takes a micro-operation more for each.
        """
        conv, ins, tiling = self.conv, self.instruction, self.tiling
        links = self.kernel_rows * self.taps * self.steps * ins.chain * tiling.vectors
        return (
            ins.chained
            and ins.lanes == 8
            and tiling.tile == 1
            and conv.out_height * conv.out_width > 1
            and links <= WRITTEN_OUT
        )

    def needs_copy(self, dtype, offset):
        """Whether activations stored as `dtype` can't be read where they are."""
        return (
            offset != 0
            or dtype != self.instruction.activation
            or any(self.conv.padding)
            or self.run % self.instruction.depth != 0
            or self.run != self.group_in
            or self.padded_columns != self.conv.out_width
        )


def pack_weights(plan, weight):
    """OIHW weights in the order in which the kernel reads them, zeros where a block is not full.

    Parameters
    ----------
    plan : DirectPlan
    weight : numpy.ndarray
        int8 (float32 for a float kernel), (out_channels, in_channels / groups, kh, kw).
    """
    conv, ins = plan.conv, plan.instruction
    _, channels, kh, kw = weight.shape
    rows = plan.kernel_rows
    w = weight.reshape(conv.groups, plan.group_out, channels, kh, kw).transpose(0, 1, 3, 4, 2)  # g, o, kh, kw, c
    w = w.reshape(conv.groups, plan.group_out, rows, plan.taps, plan.run)
    full = np.zeros((conv.groups, plan.blocks * plan.block, rows, plan.taps, plan.steps * ins.depth), w.dtype)
    full[:, : plan.group_out, ..., : plan.run] = w
    full = full[:, _order(plan)].reshape(
        conv.groups,
        plan.blocks,
        plan.tiling.vectors,
        ins.channels,
        rows,
        plan.taps,
        plan.steps,
        ins.links,
        ins.parts * ins.pairs,
    )
    # group, block, kh, tap, step, vector, chain, channel, input
    full = full.transpose(0, 1, 4, 5, 6, *((7, 2) if ins.chains else (2, 7)), 3, 8)
    return np.ascontiguousarray(full.reshape(plan.weight_shape), ins.weight)


def pack_channels(plan, values):
    """Per-channel `values` (bias, multiplier) with zeros where a block is not full."""
    full = np.zeros((plan.conv.groups, plan.blocks * plan.block), values.dtype)
    full[:, : plan.group_out] = values.reshape(plan.conv.groups, plan.group_out)
    return full[:, _order(plan)].reshape(-1)


def _order(plan):
    """The output channel (of a group) at each place of the accumulators."""
    places = np.arange(plan.blocks * plan.block)
    return places // packing.BLOCK * packing.BLOCK + packing.position(places % packing.BLOCK) if plan.packs else places
