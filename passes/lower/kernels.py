"""Emits calls to scheduled kernels: the lowering pass decides what is computed, this decides with which function."""

import math
from collections.abc import Sequence

import numpy as np
from tvm import relax, tirx

from eq_tvm.schedules.choice.counted import counted_cycles
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.islands.matmul import choose_tile
from eq_tvm.schedules.operators.pooling import Pool2D
from eq_tvm.schedules.operators.quotient import DIVISORS
from eq_tvm.schedules.operators.table import pack_table
from eq_tvm.schedules.processor.instructions import fma, vector_bits, zero
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.schedules.processor.rounding import rounded
from eq_tvm.schedules.rows.softmax import softmax_tables

from . import named_kernels
from .kernel_record import KernelRecord
from .layer_kernel import layer_kernel
from .lowered_values import Average, Linear, MatrixProduct, Scale, Tensor
from .product_kernel import product_kernel
from .weight_size import Choose


class Kernels:
    """Emits kernels for one CPU into a function under construction.

    The methods return the variable of the result. Where they take `output` and `limits`, these are the form in which
    results are stored and what they are clipped to, as `Output.limits` has it: int32 (3,), [low, high, the residual's
    fixed-point scale], or float32 (2,) for results in float32.

    Parameters
    ----------
    builder : relax.BlockBuilder
    machine : Machine
        What the CPU has: its `instructions` and caches.
    choose : callable (key, candidates) -> Candidate
        Picks a convolution's kernel.

    Attributes
    ----------
    record : list of KernelRecord
        Of each convolution and dense layer so far, but depthwise ones.
    layer_cycles : dict of str to float
        Of each layer so far, estimated.
    other_cycles : float
        Of all other functions that were called so far.
    """

    def __init__(self, builder: relax.BlockBuilder, machine: Machine, choose: Choose) -> None:
        self.builder, self.machine, self.choose = builder, machine, choose
        self.record: list[KernelRecord] = []
        self.layer_cycles: dict[str, float] = {}
        self._counted: dict[tirx.PrimFunc, float] = {}
        self.other_cycles = 0.0
        self.vector_bits = vector_bits(machine.instructions.keys())
        self.float_lanes = self.vector_bits // 32
        self.byte_lanes = self.vector_bits // 8
        self._functions: dict[tirx.PrimFunc, relax.GlobalVar] = {}

    def zero(self, low: int, high: int) -> int:
        """What is added to integers of a range to store them: see `eq_tvm.schedules.processor.instructions.zero`."""
        return zero(low, high, self.vector_bits)

    @property
    def uneven_dtype(self) -> str:
        """Of bytes whose range is uneven: see `zero`."""
        return "uint8" if self.vector_bits > 128 else "int8"

    def storage_dtype(self, low: int, high: int) -> str:
        """Of integers from `low` to `high`, as they are stored: as the multiply instruction wants them, if they fit."""
        if high - low > _BYTE or high > _BYTE:
            return "int16"
        if low >= 0 and (high > 127 or self.vector_bits > 128):
            return "uint8"
        return "int8"

    def linear(self, item: Linear, output: Output, limits: np.ndarray, multiplier: np.ndarray | None) -> relax.Var:
        """A convolution (NHWC result, all groups' channels joined) or dense layer (rank 2).

        `multiplier` is float32 (O,), of int32 accumulators, and None for a layer on floats.

        Raises
        ------
        ValueError
            If no kernel can compute the layer: see `layer_kernel`.
        """
        try:
            kernel = layer_kernel(item, output, multiplier, self.machine, self.choose)
        except ValueError as error:
            raise ValueError(f"layer {item.name}: {error}") from error
        if kernel.record is not None:
            self.record.append({**kernel.record, "function": self._added(kernel.function).name_hint})
            cycles: float = kernel.record["cycles"]
        else:
            cycles = self._cycles(kernel.function)
        self.layer_cycles[item.name] = self.layer_cycles.get(item.name, 0.0) + cycles
        x = self.reshape(item.source.expr, [int(extent) for extent in kernel.function.params[0].shape])
        extra = [] if item.residual is None else [self.reshape(item.residual.expr, kernel.shape)]
        result = self._called(kernel.function, [x, *kernel.constants, limits, *extra], kernel.shape, output.dtype)
        return self.reshape(result, item.out_shape)

    def average(self, item: Average, output: Output, limits: np.ndarray, multiplier: np.ndarray) -> relax.Var:
        """An average pooling: NHWC result, or (N, C). `multiplier` is float32 (OH, OW), of each window's sum."""
        function = named_kernels.avg_pool(item.pool, item.source.dtype, self.float_lanes, output, item.source.zero)
        shape = item.pool.out_shape
        extra = [] if item.residual is None else [self.reshape(item.residual.expr, shape)]
        result = self.call(function, [item.source.expr, multiplier, limits, *extra], shape, output.dtype)
        return self.reshape(result, (shape[0], shape[3])) if item.flat else result

    def maximum(self, source: Tensor, pool: Pool2D) -> relax.Var:
        """A max pooling of an NHWC tensor, of its dtype."""
        function = named_kernels.max_pool(pool, source.dtype, self._lanes(source.dtype))
        return self.call(function, [source.expr], pool.out_shape, source.dtype)

    def resize(self, source: Tensor, rows: np.ndarray, columns: np.ndarray, *weight_bits: int) -> relax.Var:
        """A resizing of an NHWC tensor, of its dtype: bilinear ones of integers.

        Nearest where `rows` and `columns` are int32 (OH,) and (OW,); bilinear where they come with weights, as (OH, 3)
        and (OW, 3) (see `resizing.weights`), and of how many bits these are.
        """
        if rows.ndim == 1:
            make = named_kernels.nearest
            lanes = self._lanes(source.dtype)
        else:
            make, lanes = named_kernels.bilinear, 2 * self.float_lanes
        batch, _, _, channels = source.shape
        size = len(rows), len(columns)
        function = make(source.shape, size, source.dtype, lanes, *weight_bits)
        return self.call(function, [source.expr, rows, columns], (batch, *size, channels), source.dtype)

    def resize_rows(self, source: Tensor, rows: np.ndarray, columns: np.ndarray) -> relax.Var:
        """A nearest resizing of an NCHW tensor of floats."""
        size = len(rows), len(columns)
        function = named_kernels.nearest_nchw(source.shape, size)
        return self.call(function, [source.expr, rows, columns], (*source.shape[:2], *size), "float32")

    def interpolate(self, source: Tensor, places: Sequence[np.ndarray], parts: Sequence[np.ndarray]) -> relax.Var:
        """A bilinear resizing of an NHWC tensor of floats: see `resizing.real_weights`."""
        batch, _, _, channels = source.shape
        size = len(places[0]), len(places[1])
        function = named_kernels.interpolate(source.shape, size, self.float_lanes)
        return self.call(function, [source.expr, *places, *parts], (batch, *size, channels), "float32")

    def add(self, first: Tensor, second: Tensor, output: Output, scales: np.ndarray, limits: np.ndarray) -> relax.Var:
        """Of quantized tensors of one shape, in fixed point: `scales` is int32 (2,), one for each."""
        function = named_kernels.add(first.shape, (first.dtype, second.dtype), output, (first.zero, second.zero))
        return self.call(function, [first.expr, second.expr, scales, limits], first.shape, output.dtype)

    def product(
        self, first: Tensor, second: Tensor, output: Output, multiplier: np.float32, limits: np.ndarray
    ) -> relax.Var:
        """Of quantized tensors of one shape, or of NHWC ones, the second with one pixel."""
        gate = first.shape != second.shape
        dtypes, zeros = (first.dtype, second.dtype), (first.zero, second.zero)
        function = named_kernels.product(first.shape, gate, dtypes, 2 * self.float_lanes, output, zeros)
        return self.call(function, [first.expr, second.expr, _one(multiplier), limits], first.shape, output.dtype)

    def matmul(self, left: relax.Expr, right: relax.Expr) -> relax.Var:
        """Of float tensors (..., M, K) and (..., K, N) of one batch."""
        *batch, rows, depth = (int(extent) for extent in left.ty.shape)
        count, columns = math.prod(batch), int(right.ty.shape[-1])
        registers = fma(self.float_lanes, self.machine.instructions).registers
        tile = choose_tile(rows, columns, self.float_lanes, registers)
        function = named_kernels.matmul(count, rows, depth, columns, tile, self.float_lanes)
        factors = [self.reshape(left, (count, rows, depth)), self.reshape(right, (count, depth, columns))]
        return self.reshape(self.call(function, factors, (count, rows, columns), "float32"), (*batch, rows, columns))

    def matrices(self, item: MatrixProduct, output: Output, multiplier: np.float32, limits: np.ndarray) -> relax.Var:
        """Products of pairs of matrices: (M, pairs, N).

        Raises
        ------
        ValueError
            If a sum could overflow, or the processor has no multiply instruction.
        """
        try:
            kernel = product_kernel(item, output, multiplier, self.machine)
        except ValueError as error:
            raise ValueError(f"layer {item.name}: {error}") from error
        plan, pairs = kernel.plan, item.sizes[0]
        weights = self.call(kernel.pack, [item.second.expr], plan.weight_shape, plan.instruction.weight)
        channels = (pairs * plan.blocks * plan.block,)
        bias: relax.Expr | np.ndarray = np.zeros(channels, "int32")
        if kernel.bias is not None:
            bias = self.call(kernel.bias, [weights], channels, "int32")
        self.record.append({**kernel.record, "function": self._added(kernel.function).name_hint})
        x = self.reshape(item.first.expr, [int(extent) for extent in kernel.function.params[0].shape])
        args = [x, weights, bias, np.full(channels, multiplier, "float32"), limits]
        _, rows, _, columns = item.sizes
        self.layer_cycles[item.name] = self.layer_cycles.get(item.name, 0.0) + kernel.record["cycles"]
        result = self._called(kernel.function, args, plan.conv.out_shape, output.dtype)
        return self.reshape(result, (rows, pairs, columns))

    def add_constant(self, source: Tensor, values: np.ndarray, output: Output, limits: np.ndarray) -> relax.Var:
        """A quantized tensor and int32 `values` of its rank, in the fixed point of `output`."""
        function = named_kernels.add_constant(source.shape, values.shape, source.dtype, output, source.zero)
        return self.call(function, [source.expr, values, limits], source.shape, output.dtype)

    def softmax(self, source: Tensor, count: int, inverse: np.float32, output: Output, limits: np.ndarray) -> relax.Var:
        """Of each `count` elements of a tensor as they are stored."""
        shape = (math.prod(source.shape) // count, count)
        differences = source.high - source.low + 1
        function = named_kernels.softmax(shape, source.dtype, differences, self.float_lanes, output)
        tables = softmax_tables(source.unit, differences, self.float_lanes)
        args = [self.reshape(source.expr, shape), *tables, _one(inverse), limits]
        return self.reshape(self.call(function, args, shape, output.dtype), source.shape)

    def layer_norm(
        self,
        source: Tensor,
        least: np.float64,
        factors: np.ndarray,
        summands: np.ndarray,
        output: Output,
        limits: np.ndarray,
        centered: bool,
    ) -> relax.Var:
        """Of as many elements of a tensor, as they are stored, as there are factors; RMS norm if not centered."""
        shape = (math.prod(source.shape) // len(factors), len(factors))
        magnitude = max(-source.low, source.high)
        form = (shape, source.dtype, magnitude, self.float_lanes, output, source.zero, centered)
        function = named_kernels.layer_norm(*form)
        args = [self.reshape(source.expr, shape), np.array([least], "float64"), factors, summands, limits]
        return self.reshape(self.call(function, args, shape, output.dtype), source.shape)

    def rectified(
        self, source: Tensor, output: Output, multiplier: np.float32, slopes: np.ndarray, limits: np.ndarray
    ) -> relax.Var:
        """PReLU of a quantized tensor, its channels innermost; `slopes` float32 (C,) multiply what is negative."""
        rows, channels = int(np.prod(source.shape[:-1])), source.shape[-1]
        function = named_kernels.rectify((rows, channels), source.dtype, 2 * self.float_lanes, output, source.zero)
        x = self.reshape(source.expr, (rows, channels))
        result = self.call(function, [x, _one(multiplier), slopes, limits], (rows, channels), output.dtype)
        return self.reshape(result, source.shape)

    def quantize(self, source: Tensor, output: Output, scale: np.float32, limits: np.ndarray) -> relax.Var:
        """float32 to integers; a rank-4 tensor becomes NHWC."""
        transpose = len(source.shape) == 4 and not source.nhwc
        fused = "vmlal" not in self.machine.instructions and DIVISORS[0] <= scale <= DIVISORS[1]
        function = named_kernels.quantize(source.shape, output, transpose, fused)
        divisor = np.array([scale, np.float32(1) / scale][: 1 + fused], "float32")
        n, *rest = source.shape
        shape = (n, rest[1], rest[2], rest[0]) if transpose else source.shape
        return self.call(function, [source.expr, divisor, limits], shape, output.dtype)

    def dequantize(self, source: Tensor, limits: np.ndarray, transpose: bool) -> relax.Var:
        """Integers to float32; with `transpose` from NHWC to NCHW."""
        function = named_kernels.dequantize(source.shape, source.dtype, transpose, source.zero)
        n, *rest = source.shape
        shape = (n, rest[2], rest[0], rest[1]) if transpose else source.shape
        return self.call(function, [source.expr, _one(source.unit), limits], shape, "float32")

    def rescale(self, source: Tensor, output: Output, multiplier: np.float32, limits: np.ndarray) -> relax.Var:
        """Integers to integers of another scale, `multiplier` of which are one of the source's."""
        function = named_kernels.rescale(source.shape, source.dtype, output, source.zero)
        return self.call(function, [source.expr, _one(multiplier), limits], source.shape, output.dtype)

    def lookup(self, source: Tensor, entries: np.ndarray) -> relax.Var:
        """One of `entries` for each integer of `source`, of their dtype: the first stands for `source.low`."""
        if source.dtype == "int16":
            dtype, low, count = entries.dtype.name, source.low + source.zero, len(entries)
            function = named_kernels.lookup(source.shape, source.dtype, dtype, low, count)
            return self.call(function, [source.expr, entries], source.shape, dtype)
        every = np.zeros(256, entries.dtype)
        low, high = source.low + source.zero, source.high + source.zero
        every[np.arange(low, high + 1) % 256] = entries
        dtype, size = every.dtype.name, int(np.prod(source.shape))
        if every.itemsize > 1 or size < self.byte_lanes or not self.machine.instructions.keys() - {"vmlal"}:
            function = named_kernels.lookup(source.shape, source.dtype, dtype)
            return self.call(function, [source.expr, every], source.shape, dtype)
        function = named_kernels.vector_lookup(size, source.dtype, dtype, low, high, self.byte_lanes)
        table = pack_table(every, self.byte_lanes)
        found = self.call(function, [self.reshape(source.expr, (size,)), table], (size,), dtype)
        return self.reshape(found, source.shape)

    def concat(self, parts: Sequence[Tensor], axis: int) -> relax.Var:
        """Join tensors of one dtype along one of the axes as they are stored."""
        shape = parts[0].shape
        if axis != len(shape) - 1:
            return self.builder.emit(relax.op.concat([part.expr for part in parts], axis))
        rows, widths = int(np.prod(shape[:-1])), tuple(part.shape[-1] for part in parts)
        function = named_kernels.concat(rows, widths, parts[0].dtype)
        inputs = [self.reshape(part.expr, (rows, width)) for part, width in zip(parts, widths, strict=True)]
        joined = self.call(function, inputs, (rows, sum(widths)), parts[0].dtype)
        return self.reshape(joined, (*shape[:-1], sum(widths)))

    def transpose(
        self, expr: relax.Expr, shape: Sequence[int], axes: Sequence[int], result: Sequence[int]
    ) -> relax.Var:
        """A tensor, seen with axes of this `shape`, in the order `axes`; then seen with those of `result`.

        What stays side by side should be one axis.
        """
        dtype = str(expr.ty.dtype)
        function = named_kernels.transpose(tuple(shape), tuple(axes), tuple(result), dtype, self.float_lanes)
        return self.call(function, [self.reshape(expr, shape)], result, dtype)

    def call(
        self, function: tirx.PrimFunc, args: Sequence[relax.Expr | np.ndarray], shape: Sequence[int], dtype: str
    ) -> relax.Var:
        """Emit a call of a scheduled function that is no layer's; arrays become constants."""
        self.other_cycles += self._cycles(function)
        return self._called(function, args, shape, dtype)

    def _called(
        self, function: tirx.PrimFunc, args: Sequence[relax.Expr | np.ndarray], shape: Sequence[int], dtype: str
    ) -> relax.Var:
        args = [relax.const(arg, str(arg.dtype)) if isinstance(arg, np.ndarray) else arg for arg in args]
        return self.builder.emit(
            relax.call_tir(self._added(function), relax.Tuple(args), out_ty=relax.TensorType(shape, dtype))
        )

    def _cycles(self, function: tirx.PrimFunc) -> float:
        if function not in self._counted:
            self._counted[function] = counted_cycles(function, self.machine)
        return self._counted[function]

    def reshape(self, expr: relax.Expr, shape: Sequence[int]) -> relax.Expr:
        """The same bytes under another shape: costs nothing at run time."""
        if tuple(int(extent) for extent in expr.ty.shape) == tuple(shape):
            return expr
        return self.builder.emit(relax.op.reshape(expr, shape))

    def _lanes(self, dtype: str) -> int:
        """Elements of a vector."""
        return self.vector_bits // (8 * np.dtype(dtype).itemsize)

    def _added(self, function: tirx.PrimFunc) -> relax.GlobalVar:
        if function not in self._functions:
            scheduled = rounded(function, self.machine.instructions.keys())
            self._functions[function] = self.builder.add_func(
                scheduled.without_attr("global_symbol"), function.attrs["global_symbol"]
            )
        return self._functions[function]


_BYTE = 255


def _one(value: Scale) -> np.ndarray:
    """float32 (1,)."""
    return np.array([value], "float32")
