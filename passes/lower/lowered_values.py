"""What a float variable of the annotated module stands for while it is lowered.

The lowering pass walks the bindings and keeps, for each variable, one of these values instead of code. Code is emitted
only where a value is quantized or has to become a float tensor, so that bias, residual add and activation end up inside
the kernel before them.
"""

from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.operators.pooling import Pool2D

UNBOUNDED = (-np.inf, np.inf)
NHWC_OF_NCHW = (0, 2, 3, 1)


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
        Least and greatest integer that can occur: what kernels are chosen and proven by.
    limit : int
        Greatest magnitude in the range that `quantize` and `clip` state, whatever an activation leaves of it: what the
        fixed point of a sum follows.
    """

    expr: relax.Expr
    nhwc: bool = False
    scale: np.float32 | None = None
    low: int = 0
    high: int = 0
    limit: int = 0

    @property
    def shape(self):
        """The shape as stored."""
        return tuple(int(extent) for extent in self.expr.ty.shape)

    @property
    def dtype(self):
        return str(self.expr.ty.dtype)

    @property
    def quantized(self):
        return self.scale is not None


@dataclass(frozen=True)
class Weights:
    """`dequantize` of an integer constant: weights or a bias."""

    values: np.ndarray
    scales: np.ndarray  # float32, one for each index of `axis`, or one for all
    axis: int

    def real(self):
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
    scales : numpy.ndarray or None
        float32 (O,): scale of each output channel's weights.
    bias : numpy.ndarray
        int32 or float32 (O,).
    residual : Tensor or None
    bounds : (float, float)
        Activation: the result is clipped to them.
    """

    name: str
    source: Tensor
    conv: Conv2D
    weight: np.ndarray
    scales: np.ndarray | None
    bias: np.ndarray
    biased: bool = False
    residual: Tensor | None = None
    bounds: tuple[float, float] = UNBOUNDED

    @property
    def out_shape(self):
        """The result's shape: NHWC, or (rows, O) of a dense layer."""
        batch, _, columns, channels = self.conv.nhwc_shape
        return (batch * columns, channels) if len(self.source.shape) == 2 else self.conv.nhwc_shape

    def multiplier(self, scale, factor=1.0):
        """float32 (O,): units of `scale` / `factor` in one unit of the accumulator."""
        unit = np.float64(self.source.scale) * self.scales.astype("float64")
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
    residual : Tensor or None
    bounds : (float, float)
    """

    source: Tensor
    pool: Pool2D
    counts: np.ndarray
    flat: bool = False
    residual: Tensor | None = None
    bounds: tuple[float, float] = UNBOUNDED

    def multiplier(self, scale, factor=1.0):
        """float32 (OH, OW): units of `scale` / `factor` in one unit of the window's sum."""
        unit = np.float64(self.source.scale if self.source.quantized else 1)
        return (unit / (self.counts * np.float64(scale)) * factor).astype("float32")


@dataclass(frozen=True)
class Sum:
    """The sum of two quantized tensors, not emitted yet."""

    first: Tensor
    second: Tensor
    bounds: tuple[float, float] = UNBOUNDED


@dataclass(frozen=True)
class Product:
    """The product of two quantized tensors, not emitted yet; the second may have one pixel for all of the first."""

    first: Tensor
    second: Tensor
    bounds: tuple[float, float] = UNBOUNDED

    def multiplier(self, scale):
        """float32: units of `scale` in one unit of the integers' product."""
        return np.float32(np.float64(self.first.scale) * np.float64(self.second.scale) / np.float64(scale))


@dataclass(frozen=True)
class Bounded:
    """A quantized tensor behind an activation, not emitted yet."""

    source: Tensor
    bounds: tuple[float, float] = UNBOUNDED


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


@dataclass(frozen=True)
class Joined:
    """A concatenation, not emitted yet, of values that are each quantized by themselves."""

    parts: tuple
    axis: int  # as in the annotated module, not negative


@dataclass(frozen=True)
class Quantizing:
    """Between `quantize` and `dequantize`: a value about to become integers in [low, high]."""

    value: object
    scale: np.float32
    low: int
    high: int


def is_open(value):
    """Whether a residual can still be added to a `Linear` or `Average`."""
    return value.residual is None and value.bounds == UNBOUNDED


def clipped(value, low, high):
    """`value` behind clip(low, high): composes with an earlier activation."""
    first, last = value.bounds
    return replace(value, bounds=(min(max(first, low), high), max(min(last, high), low)))


def integer_bounds(bounds, scale, low, high):
    """The integer range that is left of [low, high] behind an activation (docs/integer-program.md)."""
    return tuple(int(np.clip(np.rint(np.float32(bound) / scale), low, high)) for bound in bounds)
