"""Depthwise convolution on bytes (x86; sdot of ARM): a few rows as dwords, which one instruction multiplies and adds.

The plain algorithm, for each image, row h, pixel w and channel c of the result, with strides s and padding p:

    acc = bias[c] + sum over i, j of x[h * s + i - p, w * s + j - p, c] * weight[c, i, j]

Blocked: a task computes `rows` rows of the result for a block of channels. Going along the row, each column of the
input that a window reaches is interleaved once, and serves all the results whose windows contain it:

    column[g][channel] = (x[4g], x[4g + 1], x[4g + 2], x[4g + 3])      rows of the input, 4 bytes
    acc[r][channel] = bias[channel] + sum over column, g of column[g][channel] . weights[r, column, g, channel]

where `.` is the sum of four products, and the weights of a row r have zeros where an input row is not in its window.

The loop nest, one function for each level; it is written as TIR, as TE is about elements and this about whole vectors:

    for each task, in parallel: rows h to h + rows - 1 of an image              _task, _rows
        for each block of channels                                              _block
            if the columns of one window stay in registers                      _slide
                interleave the columns of the first window, but the last `stride`
                for w along the row
                    interleave the next `stride` columns
                    compute the results of window w
                    move the columns on by `stride`
            else                                                                _stretches
                for each stretch of up to 16 windows
                    for each column that they reach: interleave it into memory
                    for w along the stretch: compute the results of window w

    interleave a column                                                         interleave
        for each input row of the task: load the block's bytes, or padding
        for each group of four rows: interleave them as four vectors of dwords
    compute the results of a window                                             results
        for j in 0 .. 3, for each row r of the task
            sum = bias[j]; for each column and group: sum += column . weights
            requantize the sum; after an odd j, pack two vectors to int16
        for each row r: pack to bytes, clip, store
"""

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr

from ..common.epilogue import Output
from ..common.lowered import on_stack
from ..common.vectors import aligned, get, local, loop, part, put, seq
from ..convolution.conv2d import Conv2D
from .depthwise_columns_plan import ColumnsPlan, Dot, Segment
from .depthwise_columns_steps import Kernel, Place, interleave, results


def depthwise_columns(
    conv: Conv2D, dtype: str, dot: Dot, zero: int, added: int, output: Output, small: bool
) -> tirx.PrimFunc:
    """PrimFunc of a depthwise convolution that `fits`.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    dtype : str
        Dtype of the activations, "int8" or "uint8".
    dot : Dot
    zero : int
        As what 0 is stored.
    added : int
        What stored bytes get added.
    output : Output
    small : bool
        `is_small`; the result must be uint8.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations (N, H, W, C), weights and constants as `pack_weights` and `pack_constants` make them,
        limits int32 (3,), and the result (N, OH, OW, C) of `output.dtype`.
    """
    kernel, allocated = _kernel(ColumnsPlan(conv, dot), dtype, zero, added, output, small)
    tasks = conv.batch * _tasks(kernel)
    body = loop("task", tasks, lambda at: [*allocated, *_task(kernel, at)], tirx.ForKind.PARALLEL)
    return tirx.PrimFunc([kernel.x, kernel.weights, kernel.constants, kernel.limits, kernel.out], body)


def _kernel(
    plan: ColumnsPlan, dtype: str, zero: int, added: int, output: Output, small: bool
) -> tuple[Kernel, list[tirx.Stmt]]:
    """The context, and what each task begins with: its buffers on the stack, and the limits in vectors."""
    conv, lanes, width = plan.conv, plan.lanes, plan.dot.width
    slots, sums = (plan.longest - 1) * conv.strides[1] + conv.kernel[1], plan.abreast * plan.rows * 2
    memory = local(((slots * plan.groups + 1) * 4, lanes), "int32", "memory")
    declared, columns = ([], memory) if plan.sliding or plan.dot.signed else aligned(memory)
    kernel = Kernel(
        plan,
        dtype,
        zero,
        added,
        output,
        small,
        x=tirx.decl_buffer((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x"),
        weights=tirx.decl_buffer(plan.weight_shape, "int8", "weights"),
        constants=tirx.decl_buffer(plan.constant_shape, "int32", "constants"),
        limits=tirx.decl_buffer((3,), "int32", "limits"),
        out=tirx.decl_buffer(conv.nhwc_shape, output.dtype, "out"),
        columns=columns,
        raw=local((plan.in_rows, width), "uint8", "raw"),
        kept=local((3, 4, lanes), "int32", "kept"),
        bounds=local((2, width), output.dtype, "bounds"),
        halves=local((sums, width // 2), "int16", "halves"),
        sums=local((sums, lanes), "int32", "sums"),
        packed=local((width,), output.dtype, "packed"),
    )
    stack = (memory, kernel.raw, kernel.kept, kernel.bounds, kernel.halves, kernel.sums, kernel.packed)
    bounds = [put(kernel.bounds, [i], tirx.Broadcast(kernel.limits[i].astype(output.dtype), width)) for i in range(2)]
    return kernel, [*map(on_stack, stack), *declared, *bounds]


def _tasks(kernel: Kernel) -> int:
    """Tasks for one image."""
    return -(-kernel.plan.conv.out_height // kernel.plan.rows)


def _task(kernel: Kernel, at: Expr) -> list[tirx.Stmt]:
    """Task number `at`: some rows of the result, fewer at the end of an image."""
    height, rows, tasks = kernel.plan.conv.out_height, kernel.plan.rows, _tasks(kernel)
    n, h = at // tasks, at % tasks * rows
    full, rest = _rows(kernel, n, h, rows), height % rows
    return [tirx.IfThenElse(h + rows <= height, full, _rows(kernel, n, h, rest)) if rest else full]


def _rows(kernel: Kernel, n: Expr, h: Expr, rows: int) -> tirx.Stmt:
    """The results of `rows` rows of image n, from row h on, for all channels."""

    def blocks(segment: Segment) -> tirx.Stmt:
        return loop("block", segment.blocks, lambda block: _block(kernel, segment, block, n, h, rows))

    return seq([blocks(segment) for segment in kernel.plan.segments])


def _block(kernel: Kernel, segment: Segment, block: Expr, n: Expr, h: Expr, rows: int) -> list[tirx.Stmt]:
    """The results of these rows for one block of a segment's channels."""
    plan, number, out_width = kernel.plan, segment.index + block, kernel.plan.conv.out_width
    hidden = not plan.dot.signed
    (weights_part, weights), (constants_part, constants) = (
        part(buffer, number, hidden) for buffer in (kernel.weights, kernel.constants)
    )
    declared = [weights_part, constants_part]
    if plan.keeps_constants:
        declared += [put(kernel.kept, [i, j], get(constants, [i, j])) for i in range(3) for j in range(4)]
        constants = kernel.kept
    span = -(-out_width // segment.pieces)
    starts = tuple(min(q * span, out_width - span) for q in range(segment.pieces))
    place = Place(kernel, segment, block, n, h, rows, span, starts, weights, constants)
    return declared + (_slide(place) if plan.sliding else _stretches(place))


def _slide(place: Place) -> list[tirx.Stmt]:
    """All windows of the row, with the columns of one in registers."""
    plan, columns = place.kernel.plan, place.kernel.columns
    wide, stride = plan.conv.kernel[1], plan.conv.strides[1]
    carried, vectors = wide - stride, 4 * plan.groups

    def row(interior: bool) -> list[tirx.Stmt]:
        def window(w: Expr) -> list[tirx.Stmt]:
            new = [stmt for dx in range(carried, wide) for stmt in interleave(place, w * stride + dx, dx, interior)]
            moved = [put(columns, [at], get(columns, [at + stride * vectors])) for at in range(carried * vectors)]
            return [*new, *results(place, [(w, 0)]), *moved]

        first = [stmt for dx in range(carried) for stmt in interleave(place, dx, dx, interior)]
        return [*first, loop("w", place.span, window)]

    return _apart(place, row)


def _stretches(place: Place) -> list[tirx.Stmt]:
    """All windows of the row, with the columns of `longest` windows in memory."""
    plan, stride = place.kernel.plan, place.kernel.plan.conv.strides[1]
    stretches = -(-place.span // plan.longest)
    count = -(-place.span // stretches)
    abreast = min(plan.abreast, count)

    def stretch(at: Expr) -> list[tirx.Stmt]:
        first = tirx.min(at * count, place.span - count)  # the last one overlaps the one before, rather than be shorter

        def columns(interior: bool) -> list[tirx.Stmt]:
            reached = (count - 1) * stride + plan.conv.kernel[1]
            return [loop("column", reached, lambda slot: interleave(place, first * stride + slot, slot, interior))]

        def windows(i: Expr) -> list[tirx.Stmt]:
            w = tirx.min(i * abreast, count - abreast)
            return results(place, [(first + w + u, (w + u) * stride) for u in range(abreast)])

        return [*_apart(place, columns), loop("w", -(-count // abreast), windows)]

    return [loop("stretch", stretches, stretch)]


def _apart(place: Place, write: Callable[[bool], list[tirx.Stmt]]) -> list[tirx.Stmt]:
    """What `write(interior)` makes, apart for tasks that read no padding above or below."""
    conv = place.kernel.plan.conv
    if not (conv.padding[0] or conv.padding[2]):
        return write(True)
    top = place.h * conv.strides[0] - conv.padding[0]
    inside = tirx.all(top >= 0, top + place.in_rows <= conv.height)
    return [tirx.IfThenElse(inside, seq(write(True)), seq(write(False)))]
