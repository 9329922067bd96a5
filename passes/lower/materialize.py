"""Turns pending values into tensors: the arithmetic of docs/integer-program.md, chosen and emitted."""

from dataclasses import replace

import numpy as np

from eq_tvm.schedules.common.epilogue import Output

from .kernels import fraction
from .lowered_values import (
    NHWC_OF_NCHW,
    UNBOUNDED,
    Average,
    Bounded,
    Joined,
    Linear,
    Mapped,
    Product,
    Sum,
    Tensor,
    clipped,
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

    def __init__(self, kernels, layout):
        self.kernels, self.layout = kernels, layout
        self._emitters = {Linear: kernels.linear, Average: kernels.average}

    def quantized(self, value, scale, low, high):
        """`value` as integers in [low, high] at `scale`."""
        if isinstance(value, Joined):
            parts = [self.quantized(part, scale, low, high) for part in value.parts]
            return self.join(parts, value.axis)
        if isinstance(value, Tensor):
            return self._quantized_tensor(value, scale, low, high)
        if isinstance(value, Mapped):
            return self._quantized_function(value, scale, low, high)
        limit = max(abs(low), abs(high))
        low, high = integer_bounds(value.bounds, scale, low, high)
        dtype = self.kernels.storage_dtype(low, high)
        emit = {
            Linear: self._quantized_accumulator,
            Average: self._quantized_accumulator,
            Sum: self._quantized_sum,
            Product: self._quantized_product,
            Bounded: self._quantized_bounded,
        }[type(value)]
        expr = emit(value, scale, low, high, dtype)
        nhwc = len(expr.ty.shape) == 4 and (value.first if isinstance(value, Sum | Product) else value.source).nhwc
        return Tensor(expr, nhwc, scale, low, high, limit)

    def real(self, value):
        """`value` as a float32 tensor, NHWC where the value is."""
        if isinstance(value, Tensor):
            if not value.quantized:
                return value
            return Tensor(self.kernels.dequantize(value, _float_limits(UNBOUNDED), False), value.nhwc)
        if isinstance(value, Linear | Average):
            return self._real_accumulator(value)
        if isinstance(value, Product):
            multiplier, limits = value.multiplier(1.0), _float_limits(value.bounds)
            expr = self.kernels.product(value.first, value.second, Output("float32"), multiplier, limits)
            return Tensor(expr, value.first.nhwc)
        if isinstance(value, Mapped):
            return Tensor(self.kernels.lookup(value.source, value.results.astype("float32")), value.source.nhwc)
        if isinstance(value, Bounded):
            return Tensor(self.kernels.dequantize(value.source, _float_limits(value.bounds), False), value.source.nhwc)
        raise TypeError(f"{type(value).__name__} has no float form of its own")

    def join(self, parts, axis):
        """Concatenation of tensors of one kind (and one scale) along the annotated module's `axis`."""
        parts = [self.layout(part, parts[0].nhwc) for part in parts]
        first = parts[0]
        low, high = min(part.low for part in parts), max(part.high for part in parts)
        if len({part.dtype for part in parts}) > 1:
            parts = [self._stored_as(self.kernels.storage_dtype(low, high), part) for part in parts]
        expr = self.kernels.concat(parts, NHWC_OF_NCHW.index(axis) if first.nhwc else axis)
        return replace(first, expr=expr, low=low, high=high, limit=max(part.limit for part in parts))

    def _stored_as(self, dtype, part):
        if part.dtype == dtype:
            return part
        expr = self.kernels.rescale(part, Output(dtype), np.float32(1), _limits(part.low, part.high))
        return replace(part, expr=expr)

    def _quantized_tensor(self, value, scale, low, high):
        if value.quantized:
            if value.scale == scale and low <= value.low and value.high <= high:
                return replace(value, limit=max(abs(low), abs(high)))
            return self.quantized(Bounded(value), scale, low, high)
        output = Output(self.kernels.storage_dtype(low, high))
        expr = self.kernels.quantize(value, output, scale, _limits(low, high))
        return Tensor(expr, len(value.shape) == 4, scale, low, high, max(abs(low), abs(high)))

    def _quantized_function(self, value, scale, low, high):
        with np.errstate(invalid="ignore"):
            steps = np.clip(np.rint(value.results / np.float64(scale)), low, high)
        steps = np.where(np.isnan(steps), 0, steps).astype("int32")
        least, greatest = int(steps.min()), int(steps.max())
        expr = self.kernels.lookup(value.source, steps.astype(self.kernels.storage_dtype(least, greatest)))
        return Tensor(expr, value.source.nhwc, scale, least, greatest, max(abs(low), abs(high)))

    def _quantized_accumulator(self, value, scale, low, high, dtype):
        """A `Linear` or an `Average`, with its residual."""
        emit = self._emitters[type(value)]
        if not value.source.quantized:
            return self.kernels.quantize(self.real(value), Output(dtype), scale, _limits(low, high))
        if value.residual is None:
            return emit(value, Output(dtype), _limits(low, high), value.multiplier(scale))
        bits, (factor,) = fraction([_term(value.residual, scale)])
        output = Output(dtype, value.residual.dtype, bits)
        return emit(value, output, _limits(low, high, factor), value.multiplier(scale, 2.0**bits))

    def _quantized_sum(self, value, scale, low, high, dtype):
        bits, factors = fraction([_term(value.first, scale), _term(value.second, scale)])
        output = Output(dtype, None, bits)
        return self.kernels.add(value.first, value.second, output, np.array(factors, "int32"), _limits(low, high))

    def _quantized_product(self, value, scale, low, high, dtype):
        multiplier, limits = value.multiplier(scale), _limits(low, high)
        return self.kernels.product(value.first, value.second, Output(dtype), multiplier, limits)

    def _quantized_bounded(self, value, scale, low, high, dtype):
        multiplier = np.float32(np.float64(value.source.scale) / np.float64(scale))
        return self.kernels.rescale(value.source, Output(dtype), multiplier, _limits(low, high))

    def _real_accumulator(self, value):
        integer = value.source.quantized
        assert value.residual is None or not integer, "an integer sum is split before it becomes float"
        output = Output("float32", None if value.residual is None else "float32")
        multiplier = value.multiplier(1.0) if integer or isinstance(value, Average) else None
        expr = self._emitters[type(value)](value, output, _float_limits(value.bounds), multiplier)
        return Tensor(expr, len(expr.ty.shape) == 4 and value.source.nhwc)


def bound(value, low, high):
    """`value` behind clip(low, high), or None where that takes an operator of its own."""
    if isinstance(value, Tensor):
        return Bounded(value, (low, high)) if value.quantized else None
    if isinstance(value, Joined):
        parts = tuple(bound(part, low, high) for part in value.parts)
        return None if None in parts else replace(value, parts=parts)
    if isinstance(value, Mapped):
        return replace(value, results=np.clip(value.results, np.float32(low), np.float32(high)))
    return clipped(value, low, high)


def _term(tensor, scale):
    return np.float64(tensor.scale) / np.float64(scale), tensor.limit


def _limits(low, high, factor=0):
    return np.array([low, high, factor], "int32")


def _float_limits(bounds):
    return np.array(bounds, "float32")
