"""Turns pending values into tensors: the arithmetic of docs/integer-program.md, chosen and emitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from tvm import relax

from eq_tvm.schedules.common.epilogue import Output

from ..arithmetic.fixed_point import fixed, fixed_point, least_spread, normalizing
from ..graph.rewrite import array, operator_name
from .kernels import Kernels
from .lowered_values import (
    NHWC_OF_NCHW,
    UNBOUNDED,
    Accumulated,
    Activation,
    Average,
    Bounded,
    Bounds,
    Joined,
    Linear,
    Mapped,
    MatrixProduct,
    Offset,
    OfRows,
    Product,
    Rectified,
    Scale,
    Sum,
    Tensor,
    integer_bounds,
)


class Materializer:
    """Emits a value as a quantized or as a float tensor.

    Parameters
    ----------
    kernels : Kernels
    layout : callable (Tensor, bool) -> Tensor
        Brings a tensor to NHWC (True) or to the annotated module's axes (False).
    """

    def __init__(self, kernels: Kernels, layout: Callable[[Tensor, bool], Tensor]) -> None:
        self.kernels, self.layout = kernels, layout
        self._emitters: dict[type, Callable[..., relax.Expr]] = {
            Linear: self._quantized_accumulator,
            Average: self._quantized_accumulator,
            Sum: self._quantized_sum,
            Offset: self._quantized_offset,
            OfRows: self._quantized_rows,
            Product: self._quantized_product,
            MatrixProduct: self._quantized_matrices,
            Rectified: self._quantized_rectified,
            Bounded: self._quantized_bounded,
        }

    def quantized(self, value: Activation, scale: np.float32, low: int, high: int) -> Tensor:
        """`value` as int8 or uint8 in [low, high] at `scale`: NHWC where the value is, or becomes so by a kernel.

        Of a `MatrixProduct`, here and in `real`, what its kernel stores: see `rearranged.product_view`.

        Raises
        ------
        ValueError
            The scales of a sum differ too much for its fixed point, or no kernel can compute a layer.
        """
        if isinstance(value, Joined):
            parts = [self.quantized(part, scale, low, high) for part in value.parts]
            return self.join(parts, value.axis)
        if isinstance(value, Tensor):
            return self._quantized_tensor(value, scale, low, high)
        if isinstance(value, Mapped):
            return self._quantized_function(value, scale, low, high)
        limit, zero = max(abs(low), abs(high)), self.kernels.zero(low, high)
        low, high = integer_bounds(value.bounds, scale, low, high)
        output = Output(self.kernels.storage_dtype(low + zero, high + zero), zero=zero)
        expr = self._emitters[type(value)](value, _Integers(scale, low, high, limit, output))
        return Tensor(expr, len(expr.ty.shape) == 4 and _first(value).nhwc, scale, low, high, limit, zero)

    def real(self, value: Activation) -> Tensor:
        """`value` as a float32 tensor, NHWC where the value is.

        Raises
        ------
        TypeError
            For a `Sum`, `Offset`, `OfRows` and `Joined`: the lowering makes these of the float forms of their parts.
        """
        if isinstance(value, Tensor):
            if not value.quantized:
                return value
            return Tensor(self.kernels.dequantize(value, _float_limits(UNBOUNDED), False), value.nhwc)
        if isinstance(value, Accumulated):
            return self._real_accumulator(value)
        if isinstance(value, Product):
            multiplier, limits = value.multiplier(1.0), _float_limits(value.bounds)
            expr = self.kernels.product(value.first, value.second, Output("float32"), multiplier, limits)
            return Tensor(expr, value.first.nhwc)
        if isinstance(value, MatrixProduct):
            return Tensor(
                self.kernels.matrices(value, Output("float32"), value.multiplier(1.0), _float_limits(value.bounds))
            )
        if isinstance(value, Rectified):
            limits = _float_limits(value.bounds)
            expr = self.kernels.rectified(value.source, Output("float32"), *value.multipliers(1.0), limits)
            return Tensor(expr, value.source.nhwc)
        if isinstance(value, Mapped):
            return Tensor(self.kernels.lookup(value.source, value.results.astype("float32")), value.source.nhwc)
        if isinstance(value, Bounded):
            return Tensor(self.kernels.dequantize(value.source, _float_limits(value.bounds), False), value.source.nhwc)
        raise TypeError(f"{type(value).__name__} has no float form of its own")

    def join(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Concatenation of tensors of one kind (and one scale) along the annotated module's `axis`."""
        parts = [self.layout(part, parts[0].nhwc) for part in parts]
        first = parts[0]
        low, high = min(part.low for part in parts), max(part.high for part in parts)
        if len({(part.dtype, part.zero) for part in parts}) > 1:
            zero = first.zero if len({part.zero for part in parts}) == 1 else self.kernels.zero(low, high)
            parts = [self._stored_as(self.kernels.storage_dtype(low + zero, high + zero), zero, part) for part in parts]
            first = parts[0]
        expr = self.kernels.concat(parts, NHWC_OF_NCHW.index(axis) if first.nhwc else axis)
        return replace(first, expr=expr, low=low, high=high, limit=max(part.limit for part in parts))

    def _stored_as(self, dtype: str, zero: int, part: Tensor) -> Tensor:
        if (part.dtype, part.zero) == (dtype, zero):
            return part
        output = Output(dtype, zero=zero)
        expr = self.kernels.rescale(part, output, np.float32(1), _limits(output, part.low, part.high))
        return replace(part, expr=expr, zero=zero)

    def _quantized_tensor(self, value: Tensor, scale: np.float32, low: int, high: int) -> Tensor:
        if value.quantized:
            if value.scale == scale and low <= value.low and value.high <= high:
                return replace(value, limit=max(abs(low), abs(high)))
            return self.quantized(Bounded(value), scale, low, high)
        zero = self.kernels.zero(low, high)
        output = Output(self.kernels.storage_dtype(low + zero, high + zero), zero=zero)
        expr = self.kernels.quantize(value, output, scale, _limits(output, low, high))
        return Tensor(expr, len(value.shape) == 4, scale, low, high, max(abs(low), abs(high)), zero)

    def _quantized_function(self, value: Mapped, scale: np.float32, low: int, high: int) -> Tensor:
        with np.errstate(invalid="ignore"):
            steps = np.clip(np.rint(value.results / np.float64(scale)), low, high)
        steps = np.where(np.isnan(steps), 0, steps).astype("int32")
        least, greatest, zero = int(steps.min()), int(steps.max()), self.kernels.zero(low, high)
        dtype = self.kernels.storage_dtype(least + zero, greatest + zero)
        expr = self.kernels.lookup(value.source, (steps + zero).astype(dtype))
        return Tensor(expr, value.source.nhwc, scale, least, greatest, max(abs(low), abs(high)), zero)

    def _quantized_accumulator(self, value: Accumulated, to: _Integers) -> relax.Expr:
        """With its residual."""
        if not value.source.quantized:
            return self.kernels.quantize(self.real(value), to.output, to.scale, to.limits())
        if value.residual is None:
            return self._accumulator(value, to.output, to.limits(), to.scale)
        bits, (factor,) = fixed_point([_term(value.residual, to.scale)], to.limit)
        output = replace(to.output, residual=value.residual.dtype, fraction=bits, residual_zero=value.residual.zero)
        return self._accumulator(value, output, to.limits(factor), to.scale, 2.0**bits)

    def _quantized_sum(self, value: Sum, to: _Integers) -> relax.Expr:
        bits, factors = fixed_point([_term(value.first, to.scale), _term(value.second, to.scale)])
        output = replace(to.output, fraction=bits)
        return self.kernels.add(value.first, value.second, output, np.array(factors, "int32"), to.limits())

    def _quantized_offset(self, value: Offset, to: _Integers) -> relax.Expr:
        bits, (factor,) = fixed_point([_term(value.source, to.scale)], to.limit)
        output = replace(to.output, fraction=bits)
        return self.kernels.add_constant(value.source, fixed(value.values, to.scale, bits), output, to.limits(factor))

    def _quantized_rows(self, value: OfRows, to: _Integers) -> relax.Expr:
        source, count = value.source, value.count
        if operator_name(value.call) == "relax.nn.softmax":
            return self.kernels.softmax(source, count, np.float32(1 / np.float64(to.scale)), to.output, to.limits())
        centered = operator_name(value.call) == "relax.nn.layer_norm"
        gamma = array(value.call.args[1])
        assert gamma is not None, "the rule has seen to it"
        beta = array(value.call.args[2]) if centered else np.zeros_like(gamma)
        assert beta is not None, "the rule has seen to it"
        bits, factors, summands = normalizing(gamma, beta, to.scale, to.limit)
        least = least_spread(value.call.attrs.epsilon, count, source.unit)
        output = replace(to.output, fraction=bits)
        return self.kernels.layer_norm(source, least, factors, summands, output, to.limits(), centered)

    def _quantized_product(self, value: Product, to: _Integers) -> relax.Expr:
        return self.kernels.product(value.first, value.second, to.output, value.multiplier(to.scale), to.limits())

    def _quantized_matrices(self, value: MatrixProduct, to: _Integers) -> relax.Expr:
        return self.kernels.matrices(value, to.output, value.multiplier(to.scale), to.limits())

    def _quantized_rectified(self, value: Rectified, to: _Integers) -> relax.Expr:
        return self.kernels.rectified(value.source, to.output, *value.multipliers(to.scale), to.limits())

    def _quantized_bounded(self, value: Bounded, to: _Integers) -> relax.Expr:
        multiplier = np.float32(value.source.unit / np.float64(to.scale))
        return self.kernels.rescale(value.source, to.output, multiplier, to.limits())

    def _real_accumulator(self, value: Accumulated) -> Tensor:
        assert value.residual is None or not value.source.quantized, "an integer sum is split before it becomes float"
        output = Output("float32", None if value.residual is None else "float32")
        expr = self._accumulator(value, output, _float_limits(value.bounds), 1.0)
        return Tensor(expr, len(expr.ty.shape) == 4 and value.source.nhwc)

    def _accumulator(
        self, value: Accumulated, output: Output, limits: np.ndarray, scale: Scale, factor: float = 1.0
    ) -> relax.Expr:
        """The result in units of `scale` / `factor`."""
        if isinstance(value, Average):
            return self.kernels.average(value, output, limits, value.multiplier(scale, factor))
        multiplier = value.multiplier(scale, factor) if value.source.quantized else None
        return self.kernels.linear(value, output, limits, multiplier)


class _Integers(NamedTuple):
    """What a value is quantized to.

    `limit` is the greatest magnitude of the type, [low, high] what an activation leaves of it.
    """

    scale: np.float32
    low: int
    high: int
    limit: int
    output: Output

    def limits(self, factor: int = 0) -> np.ndarray:
        return _limits(self.output, self.low, self.high, factor)


def _first(value: Accumulated | Sum | Offset | OfRows | Product | MatrixProduct | Rectified | Bounded) -> Tensor:
    """Whose layout the result has."""
    return value.first if isinstance(value, Sum | Product | MatrixProduct) else value.source


def _term(tensor: Tensor, scale: np.float32) -> tuple[np.float64, int]:
    return tensor.unit / np.float64(scale), tensor.limit


def _limits(output: Output, low: int, high: int, factor: int = 0) -> np.ndarray:
    """int32 (3,), as `Output.limits` has it."""
    return np.array([low + output.zero, high + output.zero, factor], "int32")


def _float_limits(bounds: Bounds) -> np.ndarray:
    """float32 (2,)."""
    return np.array(bounds, "float32")
