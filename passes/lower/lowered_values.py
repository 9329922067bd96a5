"""What a float variable of the annotated module stands for while it is lowered.

The lowering pass walks the bindings and keeps, for each variable, one of these values instead of code. Code is emitted
only where a value is quantized or has to become a float tensor, so that bias, residual add and activation end up inside
the kernel before them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.operators.pooling import Pool2D

Bounds = tuple[float, float]  # of real numbers
UNBOUNDED: Bounds = (-np.inf, np.inf)
NHWC_OF_NCHW = (0, 2, 3, 1)
MOST = 2**12  # integers of a quantized tensor's range


@dataclass(frozen=True)
class Tensor:
    """A tensor that exists: float32, or integers q that stand for q * scale.

    Parameters
    ----------
    expr : relax.Expr
    nhwc : bool
        Stored as NHWC although the annotated module speaks of NCHW. Rank 4 only.
    scale : numpy.float32 or None
        None: the tensor is float32.
    low, high : int
        Least and greatest integer q that can occur: what kernels are chosen and proven by.
    limit : int
        Greatest magnitude in the range that `quantize` and `clip` state, whatever an activation leaves of it: what the
        fixed point of a sum follows.
    zero : int
        What is added to q to store it.
    """

    expr: relax.Expr
    nhwc: bool = False
    scale: np.float32 | None = None
    low: int = 0
    high: int = 0
    limit: int = 0
    zero: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as stored."""
        return tuple(int(extent) for extent in self.expr.ty.shape)

    @property
    def dtype(self) -> str:
        """Of its elements: "float32", "int8", "uint8" or "int16"."""
        return str(self.expr.ty.dtype)

    @property
    def quantized(self) -> bool:
        """Whether it consists of integers."""
        return self.scale is not None

    @property
    def unit(self) -> np.float64:
        """What an element of 1 stands for."""
        return np.float64(1 if self.scale is None else self.scale)


@dataclass(frozen=True)
class Weights:
    """`dequantize` of an integer constant: weights or a bias.

    Parameters
    ----------
    values : numpy.ndarray
        Integers, with the annotated module's axes.
    scales : numpy.ndarray
        float32 (values.shape[axis],), or (1,) for all.
    axis : int
    """

    values: np.ndarray
    scales: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        """The float32 values that the annotated module computes with."""
        shape = [1] * self.values.ndim
        shape[self.axis] = -1
        return self.values.astype("float32") * self.scales.reshape(shape)


@dataclass(frozen=True)
class Linear:
    """A convolution or a dense layer with what follows it, not emitted yet; on floats where the source is float.

    Parameters
    ----------
    name : str
        For messages.
    source : Tensor
        NHWC, or rank 2 of a dense layer.
    conv : Conv2D
        A dense layer is a 1x1 convolution over a row of pixels.
    weight : numpy.ndarray
        int8 or float32, OIHW.
    scales : numpy.ndarray
        float32 (O,): scale of each output channel's weights, 1 for float32 ones.
    bias : numpy.ndarray
        int32 or float32 (O,).
    biased : bool
        The bias is that of the annotated module; else it is zeros, and one can still be added.
    residual : Tensor, optional
        Is added to the result: of its shape, and quantized where the source is.
    bounds : Bounds
        Activation: the result is clipped to them.
    """

    name: str
    source: Tensor
    conv: Conv2D
    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    biased: bool = False
    residual: Tensor | None = None
    bounds: Bounds = UNBOUNDED

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The result's shape: NHWC, or (rows, O) of a dense layer."""
        batch, _, columns, channels = self.conv.nhwc_shape
        return (batch * columns, channels) if len(self.source.shape) == 2 else self.conv.nhwc_shape

    def multiplier(self, scale: Scale, factor: float = 1.0) -> np.ndarray:
        """float32 (O,): units of `scale` / `factor` in one unit of the accumulator."""
        unit = (self.source.unit * self.scales.astype("float64")).astype("float32").astype("float64")
        return (unit / np.float64(scale) * factor).astype("float32")


@dataclass(frozen=True)
class Average:
    """An average pooling, not emitted yet.

    Parameters
    ----------
    source : Tensor
        NHWC.
    pool : Pool2D
    counts : numpy.ndarray
        float64 (OH, OW): what each window's sum is divided by.
    flat : bool
        The result is (N, C).
    residual : Tensor, optional
        Is added to the result: NHWC, and quantized where the source is.
    bounds : Bounds
    """

    source: Tensor
    pool: Pool2D
    counts: np.ndarray
    flat: bool = False
    residual: Tensor | None = None
    bounds: Bounds = UNBOUNDED

    def multiplier(self, scale: Scale, factor: float = 1.0) -> np.ndarray:
        """float32 (OH, OW): units of `scale` / `factor` in one unit of the window's sum."""
        return (self.source.unit / (self.counts * np.float64(scale)) * factor).astype("float32")


@dataclass(frozen=True)
class Sum:
    """The sum of two quantized tensors of one shape and layout, not emitted yet."""

    first: Tensor
    second: Tensor
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class Product:
    """The product of two quantized tensors of one shape and layout, not emitted yet.

    The second may have one pixel, (N, 1, 1, C), for all of the first, (N, H, W, C).
    """

    first: Tensor
    second: Tensor
    bounds: Bounds = UNBOUNDED

    def multiplier(self, scale: Scale) -> np.float32:
        """Units of `scale` in one unit of the integers' product."""
        return np.float32(self.first.unit * self.second.unit / np.float64(scale))


@dataclass(frozen=True)
class MatrixProduct:
    """The products of pairs of matrices, not emitted yet.

    Parameters
    ----------
    name : str
        For messages and records.
    first : Tensor
        (M, pairs * K), quantized.
    second : Tensor
        Quantized, of rank 3.
    order : str
        Of the second one's axes: of g (which pair), k and n.
    axes : tuple of int
        Extents of the axes before the matrices' own in the annotated module: as many pairs.
    bounds : Bounds
    """

    name: str
    first: Tensor
    second: Tensor
    order: str
    axes: tuple[int, ...]
    bounds: Bounds = UNBOUNDED

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Pairs, M, K, N."""
        pairs, depth, columns = (self.second.shape[self.order.index(axis)] for axis in "gkn")
        return pairs, self.first.shape[0], depth, columns

    def multiplier(self, scale: Scale) -> np.float32:
        """Units of `scale` in one unit of the sums of products."""
        return np.float32(self.first.unit * self.second.unit / np.float64(scale))


@dataclass(frozen=True)
class Rectified:
    """A quantized tensor, NHWC or (N, C), whose negative elements are multiplied by a slope, not emitted yet.

    Parameters
    ----------
    source : Tensor
    slopes : numpy.ndarray
        float32 (C,).
    bounds : Bounds
    """

    source: Tensor
    slopes: np.ndarray
    bounds: Bounds = UNBOUNDED

    def multipliers(self, scale: Scale) -> tuple[np.float32, np.ndarray]:
        """Units of `scale` in one unit of the source, and float32 (C,) of it where it is negative."""
        unit = self.source.unit / np.float64(scale)
        negative = self.source.unit * self.slopes.astype("float64") / np.float64(scale)
        return np.float32(unit), negative.astype("float32")


@dataclass(frozen=True)
class Offset:
    """A quantized tensor and a constant tensor that is added, not emitted yet.

    Parameters
    ----------
    call : relax.Call
        The addition, in the annotated module.
    source : Tensor
    values : numpy.ndarray
        float32, of the source's rank and axes as stored, broadcast to it.
    bounds : Bounds
    """

    call: relax.Call
    source: Tensor
    values: np.ndarray
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class OfRows:
    """A softmax, layer or RMS normalization of a quantized tensor, not emitted yet.

    Parameters
    ----------
    call : relax.Call
        In the annotated module.
    source : Tensor
        Whose elements of a row are stored side by side.
    factors, axes
        How the annotated module sees what is stored like the source: see `Rearranged`.
    count : int
        Elements of a row.
    bounds : Bounds
    """

    call: relax.Call
    source: Tensor
    factors: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    count: int
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class Bounded:
    """A quantized tensor behind an activation, not emitted yet."""

    source: Tensor
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class Mapped:
    """A function of each element of a quantized tensor, not emitted yet.

    Parameters
    ----------
    source : Tensor
    results : numpy.ndarray
        float64: the function's results for the integers from `source.low` to `source.high`.
    """

    source: Tensor
    results: np.ndarray

    def clipped(self, low: float, high: float) -> Mapped:
        """The function behind clip(low, high)."""
        return replace(self, results=np.clip(self.results, np.float32(low), np.float32(high)))


@dataclass(frozen=True)
class Joined:
    """A concatenation, not emitted yet, of values that are each quantized by themselves."""

    parts: tuple[Activation, ...]
    axis: int  # as in the annotated module, not negative


@dataclass(frozen=True)
class Quantizing:
    """Between `quantize` and `dequantize`: a value about to become integers in [low, high].

    `zero_point` is what `quantize` says that it adds to them, to have a `dtype`: `clip` speaks of the sum.
    """

    value: Activation
    scale: np.float32
    low: int
    high: int
    dtype: str
    zero_point: int


Scale = np.float32 | float
Accumulated = Linear | Average
Elementwise = Sum | Offset | Product | Rectified | Bounded | Mapped
Activation = (
    Tensor | Accumulated | MatrixProduct | OfRows | Elementwise | Joined
)  # can become a tensor, quantized or float
Value = Activation | Weights | Quantizing | relax.Expr  # expressions stand for themselves: constants, shapes, tuples


def is_open(value: Accumulated) -> bool:
    """Whether a residual can still be added."""
    return value.residual is None and value.bounds == UNBOUNDED


def clipped(value: Activation, low: float, high: float) -> Activation | None:
    """`value` behind clip(low, high), composed with an earlier activation; None where that takes an operator."""
    if isinstance(value, Tensor):
        return Bounded(value, (low, high)) if value.quantized else None
    if isinstance(value, Joined):
        parts = [clipped(part, low, high) for part in value.parts]
        known = tuple(part for part in parts if part is not None)
        return replace(value, parts=known) if len(known) == len(parts) else None
    if isinstance(value, Mapped):
        return value.clipped(low, high)
    first, last = value.bounds
    return replace(value, bounds=(min(max(first, low), high), max(min(last, high), low)))


def integer_bounds(bounds: Bounds, scale: Scale, low: int, high: int) -> tuple[int, int]:
    """The integer range that is left of [low, high] behind an activation (docs/integer-program.md)."""
    least, greatest = (int(np.clip(np.rint(np.float32(bound) / scale), low, high)) for bound in bounds)
    return least, greatest
