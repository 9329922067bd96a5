"""How a Winograd convolution is cut into chunks, tiles and blocks, and the form of its weights that follows from it.

A chunk is some rows of tiles, whose products are made together: its tiles are numbered row by row. Places are the
alpha^2 elements of a transformed tile. A block is as many output channels as have their accumulators in registers
together, a step as many input channels as one use of the instruction takes.

Where tiles at an edge take fewer places (`winograd_form.Edge`), a part is some places with the tiles that take them: a
rectangle of places, and one of tiles, the first of rows and columns.
"""

import itertools
import math
from dataclasses import dataclass

from ..common.epilogue import Output
from ..common.sizes import CACHED
from ..convolution.conv2d import Conv2D
from ..processor.instruction import Instruction
from .winograd_form import Edge, Edges, Winograd


@dataclass(frozen=True)
class WinogradTiling:
    """The part of a plan that is a matter of speed alone.

    Parameters
    ----------
    chunk : int
        Rows of tiles whose products are made together; divides the number of rows.
    tile : int
        Tiles whose accumulators are in registers together.
    vectors : int
        Vectors of output channels that are in registers together.
    ahead : bool
        The whole input is transformed first, instead of chunk by chunk.
    pieces : int
        Steps of the products that are in one piece of assembly (see `ordered_int16`); 0: no assembly.
    edges : bool
        Tiles at the lower and the right edge take the places that they need alone. For a single chunk.
    """

    chunk: int
    tile: int
    vectors: int
    ahead: bool
    pieces: int = 0
    edges: bool = False


@dataclass(frozen=True)
class Part:
    """Places and the tiles that take them.

    Parameters
    ----------
    index, start : int
        Of the part, and of the first of its places among those of all parts.
    place_rows, place_columns : tuple of int
        Of the places.
    rows, columns : int
        Of tiles: the first ones of a chunk.
    tile : int
        How many of them have their accumulators in registers together.
    """

    index: int
    start: int
    place_rows: tuple[int, ...]
    place_columns: tuple[int, ...]
    rows: int
    columns: int
    tile: int

    @property
    def places(self) -> int:
        """How many there are."""
        return len(self.place_rows) * len(self.place_columns)

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    @property
    def padded_tiles(self) -> int:
        """The same as a multiple of those in registers."""
        return -(-self.tiles // self.tile) * self.tile

    def named(self, name: str) -> str:
        """Of a stage of its own."""
        return f"{name}{self.index or ''}"


@dataclass(frozen=True)
class WinogradPlan:
    """A convolution for one form of Winograd, one instruction, one form of result and one tiling.

    Parameters
    ----------
    conv : Conv2D
    winograd : Winograd
        One that it `fits`.
    instruction : Instruction
        int16 times int16.
    output : Output
    tiling : WinogradTiling
    """

    conv: Conv2D
    winograd: Winograd
    instruction: Instruction
    output: Output
    tiling: WinogradTiling

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.conv.out_height // self.winograd.m)

    @property
    def cols(self) -> int:
        """Tiles of a row."""
        return -(-self.conv.out_width // self.winograd.m)

    @property
    def chunks(self) -> int:
        """Chunks of an image."""
        return self.rows // self.tiling.chunk

    @property
    def tiles(self) -> int:
        """Tiles of a chunk."""
        return self.tiling.chunk * self.cols

    @property
    def edges(self) -> Edges:
        """Of the last row of tiles, and of the last tile of each row."""
        return edges_of(self.conv, self.winograd) if self.tiling.edges else (None, None)

    @property
    def parts(self) -> list[Part]:
        """Which places and tiles are multiplied: all those of the tiles at the edges first."""
        extents = zip(self.edges, (self.tiling.chunk, self.cols), strict=True)
        found: list[Part] = []
        for (rows, down), (columns, across) in itertools.product(*(self._parts_along(*each) for each in extents)):
            start, tile = sum(part.places for part in found), self.tiling.tile
            if self.tiling.edges and not self.tiling.pieces:  # evenly
                tile = -(-down * across // -(-down * across // tile))
            found.append(Part(len(found), start, rows, columns, down, across, tile))
        return found

    def _parts_along(self, edge: Edge | None, tiles: int) -> list[tuple[tuple[int, ...], int]]:
        """Along one axis: places with how many of the tiles take them."""
        everywhere = range(self.winograd.alpha)
        if edge is None:
            return [(tuple(everywhere), tiles)]
        inner = [(tuple(place for place in everywhere if place not in edge.places), tiles - 1)]
        return [(edge.places, tiles), *(inner if tiles > 1 else [])]

    @property
    def place_order(self) -> list[int]:
        """Places in the order of parts, each its row * alpha + its column, without those that no tile takes."""
        return [
            row * self.winograd.alpha + column
            for part in self.parts
            for row, column in itertools.product(part.place_rows, part.place_columns)
        ]

    @property
    def padded_tiles(self) -> int:
        """The same as a multiple of those in registers."""
        return self.parts[0].padded_tiles  # which has all

    @property
    def stride(self) -> int:
        """Along both axes."""
        return self.conv.strides[0]

    @property
    def run(self) -> int:
        """Channels of a row of phases: see `run_of`."""
        return run_of(self.conv, self.instruction)

    @property
    def channels(self) -> int:
        """Input channels of all phases, padded to the instruction's depth."""
        return self.stride * self.run

    @property
    def steps(self) -> int:
        """Uses of the instruction for all input channels."""
        return self.channels // self.instruction.depth

    @property
    def block(self) -> int:
        """Output channels of a block."""
        return self.tiling.vectors * self.instruction.lanes

    @property
    def blocks(self) -> int:
        """Blocks of output channels."""
        return -(-self.conv.out_channels // self.block)

    @property
    def block_bytes(self) -> int:
        """Bytes of U for a block and a place."""
        return 2 * self.channels * self.block

    @property
    def beyond_l1(self) -> bool:
        """Whether they do not stay in the first cache."""
        return self.block_bytes > CACHED

    @property
    def v_bytes(self) -> int:
        """Bytes of V for a chunk."""
        return 2 * self.winograd.alpha**2 * self.padded_tiles * self.channels

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The result in whole tiles and blocks, (N, rows * m, cols * m, blocks * block)."""
        return (self.conv.batch, self.rows * self.winograd.m, self.cols * self.winograd.m, self.blocks * self.block)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """U as (block, place, step, vector, [chain,] lane[, pair]), or (block, place, step, chain, vector and lane)."""
        start = self.blocks, len(self.place_order), self.steps
        if self.tiling.pieces:
            return (*start, self.instruction.chain, self.block)
        return (*start, self.tiling.vectors, *self.instruction.weight_shape)

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """Of the output channels; where sums are multiplied of each place, with what weights multiply by themselves."""
        channels = self.blocks * self.block
        return (len(self.place_order), channels) if self.instruction.sums else (channels,)

    @property
    def weight_dtype(self) -> str:
        """Of U."""
        return self.instruction.weight


def run_of(conv: Conv2D, instruction: Instruction) -> int:
    """Channels of a row of phases, with so many more that all rows are whole steps: those are of the next pixel."""
    (stride, _), depth = conv.strides, instruction.depth
    unit = depth // math.gcd(depth, stride)
    return -(-stride * conv.in_channels // unit) * unit


def edges_of(conv: Conv2D, winograd: Winograd) -> Edges:
    """How the last row of tiles, and the last tile of each row, may be computed; None: as the others."""
    down, across = (winograd.edges.get(extent % winograd.m) for extent in (conv.out_height, conv.out_width))
    return down, across


def fits(conv: Conv2D, winograd: Winograd) -> bool:
    """Whether a convolution has the shape that a form is for."""
    plain = (conv.dilation, conv.groups) == ((1, 1), 1)
    square = len({*conv.kernel}) == len({*conv.strides}) == 1
    return plain and square and -(-conv.kernel[0] // conv.strides[0]) == winograd.taps
