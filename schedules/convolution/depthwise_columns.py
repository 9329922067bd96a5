"""Depthwise convolution on bytes (x86): a few rows interleaved into dwords, which one instruction multiplies and adds.

The algorithm, for one task: `rows` rows of the result (two where the kernel moves by one row, so that they share the
work), and a block of as many channels as a vector has bytes. Going along the row, each column of the input that a
window reaches is interleaved once:

    column[g][channel] = (x[4g], x[4g + 1], x[4g + 2], x[4g + 3])      rows of the input, 4 bytes

and serves all the results whose windows contain it:

    acc[r][channel] = bias[channel] + sum over column, g of column[g][channel] . weights[r, column, g, channel]

where `.` is the sum of four products, and the weights of a row r have zeros where an input row is not in its window.

A block of channels that would only fill part of a vector is joined with the same channels of other pixels of the row:
the row is cut into as many stretches, and vectors hold one pixel of each.

Interleaving works within the 128-bit lanes of vectors, so dwords are not in the order of the channels: vector j holds
in lane L the channels 16 L + 4 j to 16 L + 4 j + 3. Packing four such vectors into one of bytes undoes it.
"""

from dataclasses import dataclass

import numpy as np

from ..common.overflow import INT16_MAX
from ..common.vectors import LANE
from .depthwise_loops import Kernel

MOST_ROWS = 2  # of a task
NARROWEST = 8  # channels that are joined with those of other pixels
TWO_23 = 0x4B000000  # the bits of 2^23 as float32: added to them, an integer below 2^23 is added to the number


@dataclass(frozen=True)
class Dot:
    """How four products are added up for each dword.

    Parameters
    ----------
    width : int
        Bytes of a vector.
    chain : int
        Uses of pmaddubsw whose results are added in int16; 0: vpdpbusd.
    """

    width: int
    chain: int = 0


def choose(features, activation_range, weight_max):
    """The best `Dot` for a CPU and stored activations of a range (all >= 0), or None."""
    for name, width in (("vpdpbusd-512", 64), ("vpdpbusd-256", 32)):
        if name in features:
            return Dot(width)
    chain = INT16_MAX // (2 * max(activation_range[1] * weight_max, 1))
    return Dot(32, chain) if chain and "pmaddubsw" in features else None


def fits(conv, output):
    """Whether the kernel can compute a convolution."""
    return (
        output.dtype in ("int8", "uint8")
        and output.residual is None
        and output.bounded
        and conv.dilation == (1, 1)
        and conv.out_channels % NARROWEST == 0
        and 2 <= conv.kernel[0] <= 8
        and conv.kernel[1] <= 8
        and all(stride <= size for stride, size in zip(conv.strides, conv.kernel, strict=True))
    )


def is_small(worst):
    """Whether accumulators up to `worst` (per channel) are converted to float32 by adding 2^23."""
    return bool(worst.max(initial=0) < 2**23)


def depthwise_columns(conv, dtype, dot, offset, output, small):
    """PrimFunc of a depthwise convolution that `fits`.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    dtype : str
        Dtype of the activations, shape (batch, height, width, channels).
    dot : Dot
    offset : int
        The byte that stands for 0: padding. Bytes of int8 activations get it added.
    output : Output
    small : bool
        `is_small`; the result must be uint8.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, weights and constants as `pack_weights` and `pack_constants` make them, limits, and the
        result (batch, OH, OW, channels).
    """
    return Kernel(_Plan(conv, dot), dtype, offset, output, small).function()


def pack_weights(conv, dot, weight):
    """int8 (C, 1, kh, kw) weights as (block, row of the task, column, group, vector, lane, tap), zeros elsewhere."""
    plan = _Plan(conv, dot)
    packed = np.zeros(plan.weight_shape, "int8")
    by_slot = weight[plan.slots(), 0]  # block, vector, lane, kh, kw
    for r in range(plan.rows):
        for i in range(conv.kernel[0]):
            group, tap = divmod(r * conv.strides[0] + i, 4)
            packed[:, r, :, group, :, :, tap] = by_slot[..., i, :].transpose(0, 3, 1, 2)
    return packed


def pack_constants(conv, dot, bias, multiplier, small):
    """int32 bias and float32 multiplier as (block, 3, vector, lane), in the order of dwords; bits, all in one tensor.

    The bias (with the bits of 2^23 added where the accumulators are `small`), the multiplier, and -2^23 times that.
    """
    slots = _Plan(conv, dot).slots()
    bias = (bias.astype("int64") + TWO_23 * small).astype("int32")
    return np.stack(
        [bias[slots], multiplier[slots].view("int32"), (multiplier * np.float32(-(2**23)))[slots].view("int32")], 1
    )


@dataclass(frozen=True)
class _Segment:
    """`blocks` blocks of `width` channels, the first of them at channel `first`, in vectors of `pieces` pixels."""

    index: int
    first: int
    width: int
    blocks: int
    pieces: int


class _Plan:
    """How the work is cut."""

    def __init__(self, conv, dot):
        self.conv, self.dot = conv, dot
        (kh, _), (stride, _) = conv.kernel, conv.strides
        more = max(rows for rows in range(1, MOST_ROWS + 1) if -(-((rows - 1) * stride + kh) // 4) == -(-kh // 4))
        self.rows = min(more, conv.out_height)
        self.in_rows = (self.rows - 1) * stride + kh
        self.groups = -(-self.in_rows // 4)
        self.segments, first, width = [], 0, dot.width
        while first < conv.out_channels:
            count = (conv.out_channels - first) // width
            if count:
                self.segments.append(_Segment(self.blocks, first, width, count, dot.width // width))
            first, width = first + count * width, width // 2

    @property
    def blocks(self):
        return sum(segment.blocks for segment in self.segments)

    @property
    def weight_shape(self):
        return (self.blocks, self.rows, self.conv.kernel[1], self.groups, 4, self.dot.width // 4, 4)

    def slots(self):
        """The channel in each place (block, vector, lane)."""
        j, i = np.arange(4)[:, None], np.arange(self.dot.width // 4)
        place = i // 4 * LANE + 4 * j + i % 4
        return np.stack(
            [
                segment.first + b * segment.width + place % segment.width
                for segment in self.segments
                for b in range(segment.blocks)
            ]
        )

    def group_range(self, r):
        """The groups of input rows that row r of a task reads."""
        first = r * self.conv.strides[0]
        return range(first // 4, (first + self.conv.kernel[0] - 1) // 4 + 1)
