"""Kernels as functions of a module: under a name for people, marked for later passes, and each one made once.

Each function here takes what the one of the same name in `eq_tvm.schedules` takes.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

from tvm import tirx

from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.depthwise import depthwise as depthwise_kernels
from eq_tvm.schedules.depthwise import depthwise_columns as columns_kernel
from eq_tvm.schedules.depthwise import depthwise_large as large_kernel
from eq_tvm.schedules.depthwise import depthwise_pairs as pairs_kernel
from eq_tvm.schedules.islands import depthwise as floats_depthwise
from eq_tvm.schedules.islands import matmul as matmul_kernel
from eq_tvm.schedules.islands import resize as resize_floats
from eq_tvm.schedules.moves import transpose as transpose_kernel
from eq_tvm.schedules.operators import concat as concat_kernel
from eq_tvm.schedules.operators import elementwise, pooling, resize, table
from eq_tvm.schedules.operators import rectify as rectify_kernel
from eq_tvm.schedules.operators.pooling import Pool2D
from eq_tvm.schedules.products import operand
from eq_tvm.schedules.products import product as product_kernel
from eq_tvm.schedules.rows import layer_norm as layer_norm_kernel
from eq_tvm.schedules.rows import softmax as softmax_kernel

from ..graph.states import SCHEDULED
from .join_in_place import BY_ROW, JOINS

OPAQUE = 8  # TVM's OpPatternKind.kOpaque: FuseOps keeps its hands off

Make = Callable[..., tirx.PrimFunc]


def convolution(make: Callable[[], tirx.PrimFunc], conv: Conv2D, how: str, dtype: str) -> tirx.PrimFunc:
    """A convolution's kernel.

    Parameters
    ----------
    make : functools.partial
        Of a `Candidate`: equal functions with equal arguments make one kernel.
    conv : Conv2D
    how : str
        The algorithm, for the name.
    dtype : str
        Of the result, for the name.
    """
    assert isinstance(make, functools.partial)
    return _convolution(make.func, *make.args, name=_conv_name(conv, re.sub(r"\W", "", how), dtype))


@functools.cache
def _convolution(make: Make, *args: Any, name: str) -> tirx.PrimFunc:
    return _named(make(*args), name, BY_ROW)


def _kernel(make: Make, name: Callable[..., str], *marks: str) -> Make:
    """`make`, cached, with results of the name that `name` makes of its arguments."""

    @functools.cache
    def made(*args: Any) -> tirx.PrimFunc:
        return _named(make(*args), name(*args), *marks)

    return made


def _named(function: tirx.PrimFunc, name: str, *marks: str) -> tirx.PrimFunc:
    return function.with_attr(
        {"global_symbol": name, SCHEDULED: True, "op_pattern": OPAQUE, **dict.fromkeys(marks, True)}
    )


def _conv_name(conv: Conv2D, how: str, dtype: str) -> str:
    return (
        f"conv{conv.kernel[0]}x{conv.kernel[1]}_{conv.in_channels}_{conv.out_channels}_"
        f"{conv.out_height}x{conv.out_width}_{how}_{dtype}"
    )


def _shape_name(kind: str) -> Callable[..., str]:
    return lambda shape, *_: f"{kind}_{'x'.join(map(str, shape))}"


def _pool_name(kind: str) -> Callable[..., str]:
    def name(pool: Pool2D, *_: Any) -> str:
        return f"{kind}{pool.kernel[0]}x{pool.kernel[1]}_{pool.out_height}x{pool.out_width}_{pool.channels}"

    return name


depthwise_conv = _kernel(
    depthwise_kernels.depthwise_conv,
    lambda conv, _dtype, _chain, _lanes, output, *_: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
depthwise_floats = _kernel(
    floats_depthwise.depthwise,
    lambda conv, _lanes, _registers, output: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
depthwise_large = _kernel(
    large_kernel.depthwise_large,
    lambda conv, _dtype, _lanes, output, _zero: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
depthwise_pairs = _kernel(
    pairs_kernel.depthwise_pairs,
    lambda conv, _multiply, output: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
depthwise_columns = _kernel(
    columns_kernel.depthwise_columns,
    lambda conv, _dtype, _dot, _zero, _added, output, _small: _conv_name(conv, "depthwise", output.dtype),
    BY_ROW,
)
avg_pool = _kernel(pooling.avg_pool, _pool_name("avg_pool"), BY_ROW)
max_pool = _kernel(pooling.max_pool, _pool_name("max_pool"), BY_ROW)
matmul = _kernel(
    matmul_kernel.matmul,
    lambda batch, rows, depth, columns, *_: f"matmul_{batch}x{rows}x{depth}x{columns}",
)
add = _kernel(elementwise.add, _shape_name("add"))
add_constant = _kernel(elementwise.add_constant, _shape_name("add_constant"))
softmax = _kernel(softmax_kernel.softmax, _shape_name("softmax"))
layer_norm = _kernel(layer_norm_kernel.layer_norm, _shape_name("layer_norm"))
product = _kernel(product_kernel.product, _shape_name("multiply"))
pack_operand = _kernel(operand.pack_operand, lambda plan, *_: f"pack_{plan.group_in}x{plan.group_out}")
operand_bias = _kernel(operand.operand_bias, lambda plan, _offset: f"sums_{plan.group_in}x{plan.group_out}")
transpose = _kernel(transpose_kernel.transpose, _shape_name("transpose"))
rectify = _kernel(rectify_kernel.rectify, _shape_name("prelu"))
quantize = _kernel(elementwise.quantize, _shape_name("quantize"))
dequantize = _kernel(elementwise.dequantize, _shape_name("dequantize"))
rescale = _kernel(elementwise.rescale, _shape_name("rescale"))
nearest = _kernel(resize.nearest, _shape_name("resize_nearest"), BY_ROW)
bilinear = _kernel(resize.bilinear, _shape_name("resize_bilinear"), BY_ROW)
interpolate = _kernel(resize_floats.bilinear, _shape_name("resize_bilinear"), BY_ROW)
nearest_nchw = _kernel(resize_floats.nearest, _shape_name("resize_nearest"))
lookup = _kernel(table.lookup, _shape_name("lookup"))
vector_lookup = _kernel(table.vector_lookup, lambda size, *_: f"lookup_{size}")
concat = _kernel(
    concat_kernel.concat, lambda rows, widths, _dtype: f"concat_{rows}x{'_'.join(map(str, widths))}", BY_ROW, JOINS
)
