"""Integer Winograd: its matrices, the proof that a layer's result is exact, and the form of its weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..common.epilogue import Output
from ..common.overflow import INT16_MAX, worst_accumulators
from ..common.sizes import CACHED
from ..processor.instruction import Instruction
from .conv2d import Conv2D


@dataclass(frozen=True, eq=False)
class Winograd:
    """F(m x m, 3x3) with integer matrices.

    Parameters
    ----------
    m : int
        Outputs of a tile along each axis.
    b, a : callable
        The products with B^T (alpha to alpha terms) and A^T (alpha to m terms), alpha = m + 2, of a list of terms and a
        function that multiplies a term by a power of two. Rows that differ in signs share their halves.
    g : numpy.ndarray
        G (alpha, 3).
    inverse : int
        The odd part of factor^2, inverted modulo 2^32.
    shift : int
        factor^2 = odd part * 2^shift.

    Notes
    -----
    Each axis gains a factor of 2, F(2,3), or 24, F(4,3), in all. It sits in G as far as the transformed weights fit
    int16, so that A^T is left with powers of two. Column 1 of A^T is all ones: what is added to the product at place
    (1, 1) reaches every output of the tile once, and that is where the bias goes.
    """

    m: int
    b: Callable
    g: np.ndarray
    a: Callable
    inverse: int
    shift: int

    @property
    def alpha(self):
        return self.m + 2

    @property
    def bt(self):
        """B^T as a matrix (alpha, alpha)."""
        return np.stack(self.b(np.eye(self.alpha, dtype="int64"), lambda x, k: x * k))


def _b23(x, _times):
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _a23(y, _times):
    return [y[0] + y[1] + y[2], y[1] - y[2] - y[3]]


def _b43(x, times):
    even, odd = x[4] - x[2], x[3] - x[1]
    even4, odd4 = x[4] - times(x[2], 4), x[3] - times(x[1], 4)
    return [
        times(x[0] - x[2], 4) + even,
        even4 + odd4,
        even4 - odd4,
        even + times(odd, 2),
        even - times(odd, 2),
        (x[5] - x[3]) - times(odd, 4),
    ]


def _a43(y, times):
    even, odd, even2, odd2 = y[1] + y[2], y[1] - y[2], y[3] + y[4], y[3] - y[4]
    return [y[0] + even + even2, odd + times(odd2, 2), even + times(even2, 4), odd + times(times(odd2, 4) + y[5], 2)]


F23 = Winograd(2, _b23, np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]), _a23, inverse=1, shift=2)
F43 = Winograd(
    4,
    _b43,
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 12]]),
    _a43,
    inverse=954437177,
    shift=6,
)  # 576 = 9 * 64


FORMS = (F43, F23)


def fits(conv):
    """Whether a convolution has the shape that Winograd kernels are for."""
    return (conv.kernel, conv.strides, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)


def is_exact(winograd, weight, bias, activation_range):
    """Whether the kernel provably gives the accumulator, for every input in the range.

    Parameters
    ----------
    winograd : Winograd
    weight : numpy.ndarray
        int8 OIHW.
    bias : numpy.ndarray
        int32 (O,).
    activation_range : (int, int)
        Least and greatest activation as stored.

    Notes
    -----
    The conditions: V and U fit int16, and 2^shift * acc fits int32, by the exact worst case of the given weights.
    Everything after V and U is exact modulo 2^32, and multiplying by the inverse of the odd part turns factor^2 * acc
    into 2^shift * acc even where it wrapped.
    """
    largest_acc = int(worst_accumulators(weight, bias, activation_range).max(initial=0))
    largest_u = int(np.abs(transformed_weights(winograd, weight)).max(initial=0))
    return (
        largest_activation(winograd, activation_range) <= INT16_MAX
        and largest_u <= INT16_MAX
        and largest_acc << winograd.shift < 2**31
    )


def largest_activation(winograd, activation_range):
    """The greatest magnitude that a transformed activation can reach."""
    transform = np.einsum("ik,jl->ijkl", winograd.bt, winograd.bt)
    ends = np.stack([transform * end for end in activation_range])
    return int(max(ends.max(0).sum((2, 3)).max(), -ends.min(0).sum((2, 3)).min()))


def transformed_weights(winograd, weight):
    """U = G w G^T of int8 OIHW weights, int64 (alpha, alpha, O, I)."""
    return np.einsum("ik,ockl,jl->ijoc", winograd.g, weight.astype("int64"), winograd.g, optimize=True)


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
    """

    chunk: int
    tile: int
    vectors: int
    ahead: bool
    pieces: int = 0


@dataclass(frozen=True)
class WinogradPlan:
    """A convolution for one form of Winograd, one instruction, one form of result and one tiling.

    Parameters
    ----------
    conv : Conv2D
        One that `fits`.
    winograd : Winograd
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
    def rows(self):
        return -(-self.conv.out_height // self.winograd.m)

    @property
    def cols(self):
        return -(-self.conv.out_width // self.winograd.m)

    @property
    def chunks(self):
        return self.rows // self.tiling.chunk

    @property
    def tiles(self):
        """Tiles of a chunk."""
        return self.tiling.chunk * self.cols

    @property
    def padded_tiles(self):
        """The same as a multiple of those in registers."""
        return -(-self.tiles // self.tiling.tile) * self.tiling.tile

    @property
    def steps(self):
        return -(-self.conv.in_channels // self.instruction.depth)

    @property
    def channels(self):
        """Input channels, padded to the instruction's depth."""
        return self.steps * self.instruction.depth

    @property
    def block(self):
        return self.tiling.vectors * self.instruction.lanes

    @property
    def blocks(self):
        return -(-self.conv.out_channels // self.block)

    @property
    def block_bytes(self):
        """Bytes of U for a block and a place."""
        return 2 * self.channels * self.block

    @property
    def far(self):
        """Whether they do not stay in the first cache."""
        return self.block_bytes > CACHED

    @property
    def v_bytes(self):
        """Bytes of V for a chunk."""
        return 2 * self.winograd.alpha**2 * self.padded_tiles * self.channels

    @property
    def weight_shape(self):
        """U as (block, place, step, vector, [chain,] lane[, pair]), or (block, place, step, chain, vector and lane)."""
        start = self.blocks, self.winograd.alpha**2, self.steps
        if self.tiling.pieces:
            return (*start, self.instruction.chain, self.block)
        return (*start, self.tiling.vectors, *self.instruction.weight_shape)


def constants(plan, weight, bias, multiplier):
    """What the kernel takes besides activations: zeros where a block is not full.

    Returns
    -------
    u : numpy.ndarray
        int16, `plan.weight_shape`.
    bias : numpy.ndarray
        int32: factor^2 * bias modulo 2^32.
    multiplier : numpy.ndarray
        float32, of 2^shift * acc: dividing by a power of two changes no rounding.
    """
    winograd, ins = plan.winograd, plan.instruction
    u = transformed_weights(winograd, weight)
    full = np.zeros((winograd.alpha**2, plan.blocks * plan.block, plan.channels), "int16")
    full[:, : u.shape[2], : u.shape[3]] = u.reshape(-1, *u.shape[2:])
    full = full.reshape(-1, plan.blocks, plan.tiling.vectors, ins.lanes, plan.steps, ins.chain, ins.pairs)
    factor = pow(winograd.inverse, -1, 2**32) << winograd.shift
    order = (5, 2) if plan.tiling.pieces else (2, 5)
    return (
        np.ascontiguousarray(full.transpose(1, 0, 4, *order, 3, 6)).reshape(plan.weight_shape),
        _full(plan, (bias.astype("int64") * factor).astype("int32")),
        _full(plan, multiplier / np.float32(1 << winograd.shift)),
    )


def _full(plan, values):
    full = np.zeros(plan.blocks * plan.block, values.dtype)
    full[: values.size] = values
    return full
