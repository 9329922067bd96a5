"""How the depthwise kernel on bytes cuts its work, and the order of its weights and constants that follows from it.

A task computes `rows` rows of the result: two where their windows together reach into no more groups of four input rows
than one alone, so that they share the work of interleaving. It goes over blocks of as many channels as a vector has
bytes; channels that would only fill part of a vector are joined with the same channels of other pixels of the row.

Interleaving works within the 128-bit lanes of vectors, so dwords are not in the order of the channels: vector j holds
in lane L the channels 16 L + 4 j to 16 L + 4 j + 3. Packing four such vectors into one of bytes undoes it.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..common.epilogue import Output
from ..common.overflow import INT16_MAX
from ..common.vectors import LANE
from ..convolution.conv2d import Conv2D

GROUP = 4  # input rows whose bytes make a dword
MOST_ROWS = 2  # of a task
NARROWEST = 8  # channels that are joined with those of other pixels
SIGNED = "sdot"  # multiplies int8 by int8
TWO_23 = 0x4B000000  # the bits of 2^23 as float32: added to them, an integer below 2^23 is added to the number


@dataclass(frozen=True)
class Dot:
    """How four products are added up for each dword.

    Parameters
    ----------
    width : int
        Bytes of a vector.
    chain : int
        Uses of pmaddubsw whose results are added in int16; 0: vpdpbusd, or sdot of ARM.
    """

    width: int
    chain: int = 0

    @property
    def signed(self) -> bool:
        """Whether activations are multiplied as int8, by sdot, rather than as uint8."""
        return self.width == LANE


def choose(features: Collection[str], activation_range: tuple[int, int], weight_max: int) -> Dot | None:
    """The best way to multiply on a CPU, or None if it has none that provably holds.

    Parameters
    ----------
    features : collection of str
        What the CPU has: keys of ``targets.yaml``'s ``instructions``.
    activation_range : (int, int)
        Least and greatest activation as multiplied, see `added`.
    weight_max : int
        Greatest absolute weight.
    """
    for name, width in (("vpdpbusd-512", 64), ("vpdpbusd-256", 32), (SIGNED, LANE)):
        if name in features:
            return Dot(width)
    chain = INT16_MAX // (2 * max(activation_range[1] * weight_max, 1))
    return Dot(32, chain) if chain and "pmaddubsw" in features else None


def added(features: Collection[str], dtype: str, low: int) -> int:
    """What is added to the bytes of stored activations, so that the processor can multiply them.

    Parameters
    ----------
    features : collection of str
        See `choose`.
    dtype : str
        As activations are stored: "int8" or "uint8".
    low : int
        The least activation.
    """
    if SIGNED in features:
        return -128 if dtype == "uint8" else 0
    return 0 if dtype == "uint8" else max(0, -low)


def fits(conv: Conv2D, output: Output) -> bool:
    """Whether the kernel can compute a depthwise convolution with this form of result."""
    return (
        output.dtype in ("int8", "uint8")
        and output.residual is None
        and not output.zero
        and output.bounded
        and conv.dilation == (1, 1)
        and conv.out_channels % NARROWEST == 0
        and 2 <= conv.kernel[0] <= 8
        and conv.kernel[1] <= 8
        and all(stride <= size for stride, size in zip(conv.strides, conv.kernel, strict=True))
    )


def is_small(worst: np.ndarray) -> bool:
    """Whether accumulators up to `worst` (per channel) are converted to float32 by adding 2^23."""
    return bool(worst.max(initial=0) < 2**23)


@dataclass(frozen=True)
class Segment:
    """Neighbouring blocks of equally many channels.

    Parameters
    ----------
    index : int
        The first block's number.
    first : int
        Its first channel.
    width : int
        Channels of a block.
    blocks : int
    pieces : int
        Pixels whose channels share a vector.
    """

    index: int
    first: int
    width: int
    blocks: int
    pieces: int


@dataclass(frozen=True)
class ColumnsPlan:
    """How the work is cut for one convolution and one way to multiply.

    Parameters
    ----------
    conv : Conv2D
        One that `fits`.
    dot : Dot
    """

    conv: Conv2D
    dot: Dot

    @property
    def lanes(self) -> int:
        """Dwords of a vector."""
        return self.dot.width // 4

    @property
    def rows(self) -> int:
        """Rows of the result that a task computes."""
        size, stride = self.conv.kernel[0], self.conv.strides[0]
        groups = {rows: -(-((rows - 1) * stride + size) // GROUP) for rows in range(1, MOST_ROWS + 1)}
        return min(max(rows for rows in groups if groups[rows] == groups[1]), self.conv.out_height)

    @property
    def in_rows(self) -> int:
        """Rows of the input that a task reads."""
        return self.reach(self.rows)

    def reach(self, rows: int) -> int:
        """Rows of the input that `rows` neighbouring rows of the result need."""
        return (rows - 1) * self.conv.strides[0] + self.conv.kernel[0]

    @property
    def groups(self) -> int:
        """Groups of four input rows."""
        return -(-self.in_rows // GROUP)

    def groups_of(self, r: int) -> range:
        """The groups of input rows that row r of a task reads."""
        first = r * self.conv.strides[0]
        return range(first // GROUP, (first + self.conv.kernel[0] - 1) // GROUP + 1)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All channels: as many as fill whole vectors, then of the rest those that fill half of one, and so on."""
        found: list[Segment] = []
        first, width, index = 0, self.dot.width, 0
        while first < self.conv.out_channels:
            count = (self.conv.out_channels - first) // width
            if count:
                found.append(Segment(index, first, width, count, self.dot.width // width))
            first, width, index = first + count * width, width // 2, index + count
        return tuple(found)

    @property
    def blocks(self) -> int:
        """Blocks of channels in all."""
        return sum(segment.blocks for segment in self.segments)

    @property
    def sliding(self) -> bool:
        """Whether the columns of one window stay in registers while it moves along the row."""
        return self.conv.kernel[1] * self.groups <= 3

    @property
    def longest(self) -> int:
        """Windows whose columns are interleaved together: where they do not stay in registers, into memory."""
        return 1 if self.sliding else 16

    @property
    def many_registers(self) -> bool:
        """Whether there are 32 vector registers, not 16."""
        return self.dot.width != 32

    @property
    def keeps_constants(self) -> bool:
        """Whether the constants of a block's channels stay in registers, too; ARM needs these for weights."""
        return self.sliding and self.dot.width == 64

    @property
    def abreast(self) -> int:
        """Neighbouring windows whose results are added up in turn."""
        return 2 if self.many_registers and not self.sliding else 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights: block, row of the task, column, group, vector, lane, tap."""
        return (self.blocks, self.rows, self.conv.kernel[1], self.groups, 4, self.lanes, GROUP)

    @property
    def constant_shape(self) -> tuple[int, ...]:
        """Shape of what the requantization takes: block, which constant, vector, lane."""
        return (self.blocks, 3, 4, self.lanes)

    def slots(self) -> np.ndarray:
        """The channel in each place (block, vector, lane)."""
        j, i = np.arange(4)[:, None], np.arange(self.lanes)
        place = i // 4 * LANE + 4 * j + i % 4
        return np.stack(
            [
                segment.first + b * segment.width + place % segment.width
                for segment in self.segments
                for b in range(segment.blocks)
            ]
        )


def pack_weights(conv: Conv2D, dot: Dot, weight: np.ndarray) -> np.ndarray:
    """Weights as the kernel reads them.

    Parameters
    ----------
    conv : Conv2D
    dot : Dot
    weight : numpy.ndarray
        int8 (C, 1, kh, kw).

    Returns
    -------
    numpy.ndarray
        int8, `ColumnsPlan.weight_shape`, with zeros where an input row is not in a window.
    """
    plan = ColumnsPlan(conv, dot)
    packed = np.zeros(plan.weight_shape, "int8")
    by_slot = weight[plan.slots(), 0]  # block, vector, lane, kh, kw
    for r in range(plan.rows):
        for i in range(conv.kernel[0]):
            group, tap = divmod(r * conv.strides[0] + i, GROUP)
            packed[:, r, :, group, :, :, tap] = by_slot[..., i, :].transpose(0, 3, 1, 2)
    return packed


def pack_constants(conv: Conv2D, dot: Dot, bias: np.ndarray, multiplier: np.ndarray, small: bool) -> np.ndarray:
    """Bias and multiplier as the kernel reads them, in the order of dwords: bits, all in one tensor.

    Parameters
    ----------
    conv : Conv2D
    dot : Dot
    bias : numpy.ndarray
        int32 (C,).
    multiplier : numpy.ndarray
        float32 (C,).
    small : bool
        `is_small`.

    Returns
    -------
    numpy.ndarray
        int32, `ColumnsPlan.constant_shape`: the bias (with the bits of 2^23 added where the accumulators are `small`),
        the multiplier, and -2^23 times that.
    """
    slots = ColumnsPlan(conv, dot).slots()
    bias = (bias.astype("int64") + TWO_23 * small).astype("int32")
    return np.stack(
        [bias[slots], multiplier[slots].view("int32"), (multiplier * np.float32(-(2**23)))[slots].view("int32")], 1
    )
