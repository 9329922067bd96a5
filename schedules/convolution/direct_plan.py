"""How a direct convolution is cut into tiles, blocks and runs, and the order of its weights that follows from it.

A "run" is a stretch of activations that lie side by side in memory: the input channels of one tap, or, where they do
not fill the instruction, the channels of a whole kernel row. `steps` uses of the instruction consume it. Weights stand
as [group, block, kh, tap, step, vector, chain, lane, pair].
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..common.epilogue import Output
from ..common.sizes import CACHED
from ..processor import packing
from ..processor.instruction import Instruction
from . import nibbles
from .conv2d import Conv2D

Array: TypeAlias = npt.NDArray[Any]

TILES = 8  # whose results are stored together, where a tile has few
CHUNKS = 8  # from which on activations are copied by chunks: threads share these
HALOS = 4  # as large as so many of what two chunks share: little is copied twice
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
    rows : int
        Rows of such pixels in a tile, one below the other.
    chunk : int
        Rows of tiles (tiles, where there is one row) that a thread computes with one block's weights, before the
        next block.
    im2col : bool
        The whole kernel is one run: what a row of results reads is copied, window by window.
    nibbles : bool
        Two weights are packed to a byte: see `nibbles`. Of an even number of vectors.
    """

    vectors: int
    tile: int
    chunk: int = 1
    rows: int = 1
    im2col: bool = False
    nibbles: bool = False


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
    def group_in(self) -> int:
        """Input channels of a group."""
        return self.conv.in_channels // self.conv.groups

    @property
    def group_out(self) -> int:
        """Output channels of a group."""
        return self.conv.out_channels // self.conv.groups

    @property
    def by_row(self) -> bool:
        """Whether a run is a whole kernel row, as its pixels' channels alone would waste much of the instruction."""
        conv = self.conv
        return (
            conv.groups == 1
            and conv.dilation[1] == 1
            and (self.tiling.im2col or self.group_in % self.instruction.depth != 0)
        )

    @property
    def kernel_rows(self) -> int:
        """Runs one below the other, of `taps` side by side."""
        return 1 if self.tiling.im2col else self.conv.kernel[0]

    @property
    def taps(self) -> int:
        """Runs side by side in a kernel row."""
        return 1 if self.by_row else self.conv.kernel[1]

    @property
    def row(self) -> int:
        """Elements of a kernel row that lie side by side."""
        return self.group_in * (self.conv.kernel[1] if self.by_row else 1)

    @property
    def run(self) -> int:
        """Elements of a run: see the module."""
        return self.row * (self.conv.kernel[0] if self.tiling.im2col else 1)

    @property
    def steps(self) -> int:
        """Uses of the instruction that consume a run."""
        return -(-self.run // self.instruction.depth)

    @property
    def block(self) -> int:
        """Output channels of a block."""
        return self.tiling.vectors * self.instruction.channels

    @property
    def blocks(self) -> int:
        """Blocks of a group, the last of which may not be full."""
        return -(-self.group_out // self.block)

    @property
    def padded_columns(self) -> int:
        """Columns of the result, filled up to whole tiles."""
        return -(-self.conv.out_width // self.tiling.tile) * self.tiling.tile

    @property
    def padded_rows(self) -> int:
        """Rows of the result, filled up to whole tiles."""
        return -(-self.conv.out_height // self.tiling.rows) * self.tiling.rows

    @property
    def is_padded(self) -> bool:
        """Whether tiles reach beyond the result."""
        return self.padded_columns != self.conv.out_width or self.padded_rows != self.conv.out_height

    @property
    def copies_for_tiles(self) -> bool:
        """Whether activations are copied for tiles that reach beyond the result.

        Those of instructions for several pixels read the last pixel again instead: few rows have an even width.
        """
        return self.is_padded and self.instruction.pixels == 1

    @property
    def places(self) -> int:
        """What chunks are made of: rows of tiles, or tiles where there is one row."""
        if self.conv.out_height > 1:
            return self.padded_rows // self.tiling.rows
        return self.padded_columns // self.tiling.tile

    @property
    def copies_by_chunk(self) -> bool:
        """Whether activations are copied chunk by chunk, where they stay in a near cache until they are read.

        Only where there are chunks enough for threads to share, and little is copied twice: float ones, which are
        large.
        """
        ins, chunk = self.instruction, self.tiling.chunk
        return (
            ins.activation == "float32"
            and self.needs_copy("float32", 0)
            and self.places >= CHUNKS * chunk
            and chunk >= HALOS * self._halo
        )

    @property
    def _halo(self) -> int:
        """Places of a chunk's activations that the next one's have as well."""
        conv = self.conv
        if conv.out_height > 1:
            return -(-max(0, (conv.kernel[0] - 1) * conv.dilation[0] + 1 - conv.strides[0]) // conv.strides[0])
        both = max(0, (conv.kernel[1] - 1) * conv.dilation[1] + 1 - conv.strides[1])
        return -(-both // (conv.strides[1] * self.tiling.tile))

    @property
    def packs(self) -> bool:
        """Whether four vectors are packed to bytes together: see `packing`."""
        return (
            self.block == packing.BLOCK
            and self.instruction.lanes == 16
            and self.instruction.registers == 32
            and self.output.dtype in ("int8", "uint8")
            and self.output.residual in (None, "uint8")
            and self.group_out % packing.BLOCK == 0
            and not self.is_padded
        )

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the packed weights: see the module."""
        shape = self.unpacked_shape
        if self.tiling.nibbles:
            return (*shape[: nibbles.VECTOR], shape[nibbles.VECTOR] // 2, *shape[nibbles.VECTOR + 1 :])
        return shape

    @property
    def weight_dtype(self) -> str:
        """Of the packed weights."""
        return "uint8" if self.tiling.nibbles else self.instruction.weight

    @property
    def unpacked_shape(self) -> tuple[int, ...]:
        """Of the weights as the instruction takes them."""
        ins, vectors = self.instruction, self.tiling.vectors
        link, *rest = ins.weight_shape
        order = (link, vectors) if ins.chains else (vectors, link)
        return (self.conv.groups, self.blocks, self.kernel_rows, self.taps, self.steps, *order, *rest)

    @property
    def block_bytes(self) -> int:
        """Bytes of a block of weights."""
        return math.prod(self.weight_shape[2:]) * np.dtype(self.weight_dtype).itemsize

    @property
    def beyond_l1(self) -> bool:
        """Whether a block of weights does not stay in the first cache."""
        return self.block_bytes > CACHED

    @property
    def unrolled(self) -> bool:
        """Whether the code of a tile is written out.

        Weights that a single pixel uses are read by the instruction that multiplies them. Where a loop counts, their
        address has an index, and AVX2 takes a micro-operation more for each.
        """
        conv, ins, tiling = self.conv, self.instruction, self.tiling
        links = self.kernel_rows * self.taps * self.steps * ins.chain * tiling.vectors
        return (
            ins.int16_step
            and ins.lanes == 8
            and tiling.tile == 1
            and conv.out_height * conv.out_width > 1
            and links <= WRITTEN_OUT
        )

    def needs_copy(self, dtype: str, offset: int) -> bool:
        """Whether activations stored as `dtype` can't be read where they are."""
        return (
            offset != 0
            or dtype != self.instruction.activation
            or any(self.conv.padding)
            or self.run % self.instruction.depth != 0
            or self.run != self.group_in
            or self.copies_for_tiles
        )


def pack_weights(plan: DirectPlan, weight: Array) -> Array:
    """OIHW weights in the order in which the kernel reads them, `plan.weight_shape`, zeros where a block is not full.

    Parameters
    ----------
    plan : DirectPlan
    weight : numpy.ndarray
        int8 (float32 for a float kernel), (out_channels, in_channels / groups, kh, kw).
    """
    ins, runs = plan.instruction, weight_runs(plan, weight)
    groups, _, *rest = runs.shape
    full = np.zeros((groups, plan.blocks * plan.block, *rest), runs.dtype)
    full[:, : plan.group_out] = runs
    full = full[:, _order(plan)].reshape(groups, plan.blocks, plan.tiling.vectors, ins.channels, *rest)
    # group, block, kh, tap, step, vector, link, channel, input
    full = full.transpose(0, 1, 4, 5, 6, *((7, 2) if ins.chains else (2, 7)), 3, 8)
    full = np.ascontiguousarray(full.reshape(plan.unpacked_shape), ins.weight)
    return nibbles.pack(full, ins) if plan.tiling.nibbles else full


def weight_runs(plan: DirectPlan, weight: Array) -> Array:
    """OIHW weights, each output channel's by itself, as the instruction uses them one after the other.

    Parameters
    ----------
    plan : DirectPlan
        Of its tiling, only `im2col` matters.
    weight : numpy.ndarray
        As for `pack_weights`.

    Returns
    -------
    numpy.ndarray
        (group, channel, kh, tap, step, link, input), zeros where a run does not fill its last use.
    """
    conv, ins = plan.conv, plan.instruction
    _, channels, kh, kw = weight.shape
    rows = plan.kernel_rows
    w = weight.reshape(conv.groups, plan.group_out, channels, kh, kw).transpose(0, 1, 3, 4, 2)  # g, o, kh, kw, c
    w = w.reshape(conv.groups, plan.group_out, rows, plan.taps, plan.run)
    full = np.zeros((*w.shape[:-1], plan.steps * ins.depth), w.dtype)
    full[..., : plan.run] = w
    return full.reshape(*w.shape[:-1], plan.steps, ins.links, ins.lanes_per_channel * ins.pairs)


def pack_channels(plan: DirectPlan, values: Array) -> Array:
    """Per-channel `values` (bias, multiplier), (out_channels,), with zeros where a block is not full.

    They come in the order of the accumulators, block by block: (groups * blocks * block,).
    """
    full = np.zeros((plan.conv.groups, plan.blocks * plan.block), values.dtype)
    full[:, : plan.group_out] = values.reshape(plan.conv.groups, plan.group_out)
    ordered: Array = full[:, _order(plan)].reshape(-1)
    return ordered


def _order(plan: DirectPlan) -> npt.NDArray[np.intp]:
    """The output channel (of a group) at each place of the accumulators."""
    places = np.arange(plan.blocks * plan.block)
    return places // packing.BLOCK * packing.BLOCK + packing.position(places % packing.BLOCK) if plan.packs else places
