"""Emits calls to scheduled kernels: the lowering pass decides what is computed, this decides with which function."""

import functools
import re
from dataclasses import replace

import numpy as np
from tvm import relax

from eq_tvm.schedules.choice import candidates, overflow
from eq_tvm.schedules.common.epilogue import is_bounded
from eq_tvm.schedules.convolution import depthwise, depthwise_columns, depthwise_columns_plan
from eq_tvm.schedules.operators import concat as concat_kernel
from eq_tvm.schedules.operators import elementwise, pooling, resize
from eq_tvm.schedules.operators import product as product_kernel
from eq_tvm.schedules.operators import table as table_kernel
from eq_tvm.schedules.processor import instructions
from eq_tvm.schedules.processor.rounding import rounded

from .join_in_place import BY_ROW, JOINS
from .weight_size import small, weight_bytes

FRACTION_BITS = 16
TERM_LIMIT = 2**29
OPAQUE = 8  # TVM's OpPatternKind.kOpaque: FuseOps keeps its hands off


class Kernels:
    """Emits kernels for one CPU into a function under construction.

    Parameters
    ----------
    builder : relax.BlockBuilder
    machine : Machine
        What the CPU has: its `instructions` and caches.
    choose : callable (key, candidates) -> Candidate
        Picks a convolution's kernel.
    """

    def __init__(self, builder, machine, choose):
        self.builder, self.machine, self.choose = builder, machine, choose
        self.record = []
        self.vector_bits = instructions.vector_bits(machine.instructions.keys())
        self.float_lanes = self.vector_bits // 32
        self.byte_lanes = self.vector_bits // 8
        self._functions = {}

    def storage_dtype(self, low, high):
        """How integers of a range are stored: as the multiply instruction wants them, if they fit."""
        if low >= 0 and (high > 127 or self.vector_bits > 128):
            return "uint8"
        return "int8"

    def linear(self, item, output, limits, multiplier):
        """A convolution (NHWC result, all groups' channels joined) or dense layer (rank 2)."""
        conv, source = item.conv, item.source
        depthwise_layer = 1 < conv.groups == conv.in_channels == conv.out_channels
        emit = self._depthwise if depthwise_layer else self._convolution
        try:
            function, constants, shape = emit(item, output, multiplier)
        except ValueError as error:
            raise ValueError(f"layer {item.name}: {error}") from error
        x = self.reshape(source.expr, [int(extent) for extent in function.params[0].shape])
        extra = [] if item.residual is None else [self.reshape(item.residual.expr, shape)]
        result = self.call(function, [x, *constants, limits, *extra], shape, output.dtype)
        return self.reshape(result, item.out_shape)

    def _convolution(self, item, output, multiplier):
        """The cheapest kernel that provably gives the result."""
        source, found = item.source, []
        if source.quantized:
            stored = candidates.Stored(source.dtype, source.low, source.high)
            output = replace(output, bounded=_bounded(item, multiplier))
        for conv in dict.fromkeys([item.conv.flattened(), item.conv]):
            if source.quantized:
                found += candidates.convolution_candidates(
                    conv, item.weight, item.bias, multiplier, stored, output, self.machine
                )
            else:
                found += candidates.float_candidates(
                    conv, item.weight, item.bias, output, self.machine, self.float_lanes
                )
        key = _layer_key(item, output)
        best = self.choose(key, found)
        function = _convolution(best.make, item.conv, best.name.split()[0], output.dtype)
        self.record.append(
            {
                "layer": item.name,
                "function": self._added(function).name_hint,
                "kernel": best.name,
                "macs": item.conv.macs,
                "instruction": best.instruction,
                "multiplications": round(best.multiplications),
                "cycles": round(best.cycles),
                "weight_bytes": weight_bytes(best),
                "small_weight_bytes": weight_bytes(min(small(found), key=lambda candidate: candidate.cycles)),
            }
        )
        shape = tuple(int(extent) for extent in function.params[-1].shape)
        return function, best.constants(), shape

    def _depthwise(self, item, output, multiplier):
        conv = item.conv
        multiply = depthwise.byte_multiply(self.machine.instructions.keys()) if item.source.dtype == "int8" else None
        weight = depthwise.pack_depthwise(item.weight, "int8" if multiply else "int16")
        if not item.source.quantized:
            function = _depthwise_conv(conv, "float32", weight.shape[0], self.float_lanes, output)
            return function, [weight, item.bias], conv.nhwc_shape
        span, weight_max = (item.source.low, item.source.high), int(np.abs(item.weight.astype("int32")).max())
        fast = self._depthwise_columns(conv, item, output, multiplier, weight_max)
        if fast:
            return fast
        chain = depthwise.int16_chain(item.weight, span)
        bias = overflow.folded_bias(item.weight, item.bias, span, 0)
        function = _depthwise_conv(conv, item.source.dtype, chain, self.byte_lanes // 2, output, 0, multiply)
        return function, [weight, bias, multiplier], conv.nhwc_shape

    def _depthwise_columns(self, conv, item, output, multiplier, weight_max):
        """The kernel for processors with instructions for bytes, where it can be used, and its constants."""
        span, dtype = (item.source.low, item.source.high), item.source.dtype
        offset = max(0, -span[0])  # of the bytes that are multiplied
        dot = depthwise_columns_plan.choose(self.machine.instructions, (span[0] + offset, span[1] + offset), weight_max)
        worst = overflow.worst_accumulators(item.weight, item.bias, span)
        output = replace(output, bounded=output.dtype != "float32" and is_bounded(worst, multiplier))
        if dot is None or not depthwise_columns_plan.fits(conv, output):
            return None
        small = output.dtype == "uint8" and depthwise_columns_plan.is_small(worst)
        bias = overflow.folded_bias(item.weight, item.bias, span, offset)
        function = _depthwise_columns(conv, dtype, dot, offset, output, small)
        return (
            function,
            [
                depthwise_columns_plan.pack_weights(conv, dot, item.weight),
                depthwise_columns_plan.pack_constants(conv, dot, bias, multiplier, small),
            ],
            conv.nhwc_shape,
        )

    def average(self, item, output, limits, multiplier):
        """An average pooling: NHWC result, or (N, C)."""
        function = _avg_pool(item.pool, item.source.dtype, self.float_lanes, output)
        shape = item.pool.out_shape
        extra = [] if item.residual is None else [self.reshape(item.residual.expr, shape)]
        result = self.call(function, [item.source.expr, multiplier, limits, *extra], shape, output.dtype)
        return self.reshape(result, (shape[0], shape[3])) if item.flat else result

    def maximum(self, source, pool):
        lanes = self.float_lanes if source.dtype == "float32" else self.byte_lanes
        return self.call(_max_pool(pool, source.dtype, lanes), [source.expr], pool.out_shape, source.dtype)

    def resize(self, source, rows, columns):
        """A nearest resizing, or a bilinear one where rows and columns come with weights."""
        make, lanes = (_nearest, self.byte_lanes) if rows.ndim == 1 else (_bilinear, 2 * self.float_lanes)
        batch, _, _, channels = source.shape
        size = len(rows), len(columns)
        function = make(source.shape, size, source.dtype, lanes)
        return self.call(function, [source.expr, rows, columns], (batch, *size, channels), source.dtype)

    def add(self, first, second, output, scales, limits):
        function = _add(first.shape, (first.dtype, second.dtype), output)
        return self.call(function, [first.expr, second.expr, scales, limits], first.shape, output.dtype)

    def product(self, first, second, output, multiplier, limits):
        """Of tensors of one shape, or of NHWC ones, the second with one pixel."""
        gate = first.shape != second.shape
        function = _product(first.shape, gate, (first.dtype, second.dtype), 2 * self.float_lanes, output)
        return self.call(function, [first.expr, second.expr, _one(multiplier), limits], first.shape, output.dtype)

    def quantize(self, source, output, scale, limits):
        """float32 to integers; a rank-4 tensor becomes NHWC."""
        transpose = len(source.shape) == 4 and not source.nhwc
        function = _quantize(source.shape, output, transpose)
        n, *rest = source.shape
        shape = (n, rest[1], rest[2], rest[0]) if transpose else source.shape
        return self.call(function, [source.expr, _one(scale), limits], shape, output.dtype)

    def dequantize(self, source, limits, transpose):
        """Integers to float32; with `transpose` from NHWC to NCHW."""
        function = _dequantize(source.shape, source.dtype, transpose)
        n, *rest = source.shape
        shape = (n, rest[2], rest[0], rest[1]) if transpose else source.shape
        return self.call(function, [source.expr, _one(source.scale), limits], shape, "float32")

    def rescale(self, source, output, multiplier, limits):
        function = _rescale(source.shape, source.dtype, output)
        return self.call(function, [source.expr, _one(multiplier), limits], source.shape, output.dtype)

    def lookup(self, source, entries):
        """One of `entries` for each integer of `source`: the first stands for `source.low`."""
        every = np.zeros(256, entries.dtype)
        every[np.arange(source.low, source.high + 1) % 256] = entries
        dtype, size = every.dtype.name, int(np.prod(source.shape))
        if dtype == "float32" or size < self.byte_lanes or not self.machine.instructions.keys() - {"vmlal"}:
            function = _lookup(source.shape, source.dtype, dtype)
            return self.call(function, [source.expr, every], source.shape, dtype)
        function = _vector_lookup(size, source.dtype, dtype, source.low, source.high, self.byte_lanes)
        table = table_kernel.pack_table(every, self.byte_lanes)
        found = self.call(function, [self.reshape(source.expr, (size,)), table], (size,), dtype)
        return self.reshape(found, source.shape)

    def concat(self, parts, axis):
        """Join tensors along one of the axes as they are stored."""
        shape = parts[0].shape
        if axis != len(shape) - 1:
            return self.builder.emit(relax.op.concat([part.expr for part in parts], axis))
        rows, widths = int(np.prod(shape[:-1])), tuple(part.shape[-1] for part in parts)
        function = _concat(rows, widths, parts[0].dtype)
        inputs = [self.reshape(part.expr, (rows, width)) for part, width in zip(parts, widths, strict=True)]
        joined = self.call(function, inputs, (rows, sum(widths)), parts[0].dtype)
        return self.reshape(joined, (*shape[:-1], sum(widths)))

    def _added(self, function):
        if function not in self._functions:
            scheduled = rounded(function, self.machine.instructions.keys())
            self._functions[function] = self.builder.add_func(
                scheduled.without_attr("global_symbol"), function.attrs["global_symbol"]
            )
        return self._functions[function]

    def call(self, function, args, shape, dtype):
        """Emit a call of a scheduled function; arrays become constants."""
        args = [relax.const(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
        return self.builder.emit(
            relax.call_tir(self._added(function), relax.Tuple(args), out_ty=relax.TensorType(shape, dtype))
        )

    def reshape(self, expr, shape):
        """The same bytes under another shape: costs nothing at run time."""
        if tuple(int(extent) for extent in expr.ty.shape) == tuple(shape):
            return expr
        return self.builder.emit(relax.op.reshape(expr, shape))


def fraction(terms):
    """Fractional bits of a fixed-point sum and the integer scale of each term (docs/integer-program.md).

    Parameters
    ----------
    terms : list of (float64, int)
        Ratio of the term's scale to the result's, and its greatest absolute value.
    """
    for bits in range(FRACTION_BITS, 0, -1):
        scales = [int(np.rint(ratio * 2.0**bits)) for ratio, _ in terms]
        if all(scale * largest <= TERM_LIMIT for scale, (_, largest) in zip(scales, terms, strict=True)):
            return bits, scales
    raise ValueError(
        "a residual add joins tensors whose scales differ too much for 32-bit fixed point: "
        f"ratios {', '.join(f'{ratio:.3g}' for ratio, _ in terms)}"
    )


def _layer_key(item, output):
    """What two layers have in common that can use the same kernels, for people and files."""
    conv, source = item.conv, item.source
    form = f"{source.dtype} [{source.low}, {source.high}]" if source.quantized else "float32"
    return (
        f"{conv.batch}x{conv.height}x{conv.width}x{conv.in_channels} to {conv.out_channels}, "
        f"kernel {conv.kernel}, strides {conv.strides}, padding {conv.padding}, dilation {conv.dilation}, "
        f"groups {conv.groups}, {form} to {output.dtype}{f' plus {output.residual}' if output.residual else ''}"
    )


def _bounded(item, multiplier):
    worst = overflow.worst_accumulators(item.weight, item.bias, (item.source.low, item.source.high))
    return is_bounded(worst, multiplier)


def _one(value):
    return np.array([value], "float32")


def _kernel(make, name, *marks):
    """`make`, cached, with results that are named for people to read and left alone by later passes."""

    @functools.cache
    def made(*args):
        return _named(make(*args), name(*args), *marks)

    return made


def _named(function, name, *marks):
    return function.with_attr(
        {"global_symbol": name, "tirx.is_scheduled": True, "op_pattern": OPAQUE, **dict.fromkeys(marks, True)}
    )


def _convolution(make, conv, how, dtype):
    return _convolution_of(make.func, *make.args, name=_conv_name(conv, re.sub(r"\W", "", how), dtype))


@functools.cache
def _convolution_of(make, *args, name):
    return _named(make(*args), name, BY_ROW)


def _conv_name(conv, how, dtype):
    return (
        f"conv{conv.kernel[0]}x{conv.kernel[1]}_{conv.in_channels}_{conv.out_channels}_"
        f"{conv.out_height}x{conv.out_width}_{how}_{dtype}"
    )


def _shape_name(kind):
    return lambda shape, *_rest: f"{kind}_{'x'.join(map(str, shape))}"


def _pool_name(kind):
    def name(pool, *_rest):
        return f"{kind}{pool.kernel[0]}x{pool.kernel[1]}_{pool.out_height}x{pool.out_width}_{pool.channels}"

    return name


_depthwise_conv = _kernel(
    depthwise.depthwise_conv,
    lambda conv, _dtype, _chain, _lanes, output, *_: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
_depthwise_columns = _kernel(
    depthwise_columns.depthwise_columns,
    lambda conv, _dtype, _dot, _offset, output, _small: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
_avg_pool = _kernel(pooling.avg_pool, _pool_name("avg_pool"), BY_ROW)
_max_pool = _kernel(pooling.max_pool, _pool_name("max_pool"), BY_ROW)
_add = _kernel(elementwise.add, _shape_name("add"))
_product = _kernel(product_kernel.product, _shape_name("multiply"))
_quantize = _kernel(elementwise.quantize, _shape_name("quantize"))
_dequantize = _kernel(elementwise.dequantize, _shape_name("dequantize"))
_nearest = _kernel(resize.nearest, _shape_name("resize_nearest"), BY_ROW)
_bilinear = _kernel(resize.bilinear, _shape_name("resize_bilinear"), BY_ROW)
_lookup = _kernel(table_kernel.lookup, _shape_name("lookup"))
_vector_lookup = _kernel(table_kernel.vector_lookup, lambda size, *_rest: f"lookup_{size}")
_rescale = _kernel(elementwise.rescale, _shape_name("rescale"))
_concat = _kernel(
    concat_kernel.concat, lambda rows, widths, _dtype: f"concat_{rows}x{'_'.join(map(str, widths))}", BY_ROW, JOINS
)
