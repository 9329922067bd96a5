"""Convolution along rows by Winograd's F(2,3) over bytes: see `rowwise_form` for the algorithm."""

from collections.abc import Sequence

from tvm import te, tirx
from tvm.tirx import Expr

from ..common.lowered import cropped
from ..winograd.winograd_form import F23
from ..winograd.winograd_transforms import one_of
from .rowwise_form import PLACES, RESULTS, middle
from .rowwise_plan import RowwisePlan
from .rowwise_schedule import scheduled


def rowwise_conv(plan: RowwisePlan, span: tuple[int, int], zero: int, dtype: str) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a convolution whose kernel is three columns wide.

    Parameters
    ----------
    plan : RowwisePlan
    span : (int, int)
        Least and greatest activation as stored, `zero` among them.
    zero : int
        How 0 is stored: what padding is.
    dtype : str
        Dtype of the stored activations.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations (N, H, W, C), weights, bias and multiplier as `rowwise_plan.constants` makes them,
        limits, the residual if there is one, and the result, both (N, OH, OW, O).
    """
    conv, output, channels = plan.conv, plan.output, plan.blocks * plan.block
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
    weights = te.placeholder(plan.weight_shape, plan.weight_dtype, "weights")
    bias = te.placeholder((RESULTS, channels), "int32", "bias")
    multiplier = te.placeholder((channels,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None

    v = input_transform(padded(x, plan, zero), plan, [plan.offset - each for each in middle(span)])
    out = stored(products(v, weights, plan), bias, multiplier, limits, residual, plan)
    args = [x, weights, bias, multiplier, limits, *([residual] if output.residual else []), out]
    return cropped(scheduled(te.create_prim_func(args), plan), conv.nhwc_shape)


def padded(x: te.Tensor, plan: RowwisePlan, zero: int) -> te.Tensor:
    """Activations in whole tiles, with appended channels: uint8 (N, stored rows, 2 * pairs + 2, room).

    What appended ones repeat is copied to "appended" before. What fills up a product, or a vector, is 0.
    """
    conv, (top, left, _, _) = plan.conv, plan.conv.padding
    columns, more = RESULTS * plan.pairs + 2, plan.room - conv.in_channels

    def read(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        row, column = h - top, w - left
        inside = te.all(row >= 0, row < conv.height, column >= 0, column < conv.width)
        return te.if_then_else(inside, tirx.reinterpret("uint8", x[n, row, column, c]), tirx.const(zero % 256, "uint8"))

    if not more:
        return te.compute((conv.batch, plan.stored_rows, columns, plan.room), read, "padded")

    def repeated(n: Expr, h: Expr, w: Expr, j: Expr) -> Expr:
        values = [read(n, h, w, tirx.const(channel, "int32")) for channel in plan.appended]
        return one_of([*values, tirx.const(0, "uint8")], j)

    appended = te.compute((conv.batch, plan.stored_rows, columns, more), repeated, "appended")
    return te.compute(
        (conv.batch, plan.stored_rows, columns, plan.room),
        lambda n, h, w, c: te.if_then_else(
            c < conv.in_channels, read(n, h, w, c), appended[n, h, w, c - conv.in_channels]
        ),
        "padded",
    )


def input_transform(x: te.Tensor, plan: RowwisePlan, added: Sequence[int]) -> te.Tensor:
    """B^T d of each pair, with what is added in each place: (N, place, pair, row and channel), of the instruction.

    In bytes that wrap: the result is within one. Rows lie side by side, so that a result reads a single run.
    """

    def value(n: Expr, p: Expr, t: Expr, i: Expr) -> Expr:
        h, c = i // plan.channels, i % plan.channels
        terms = F23.b([x[n, h, RESULTS * t + k, c] for k in range(PLACES)], lambda term, factor: term)
        moved = [term + tirx.const(more % 256, "uint8") for term, more in zip(terms, added, strict=True)]
        return tirx.reinterpret(plan.instruction.activation, one_of(moved, p))

    return te.compute((plan.conv.batch, PLACES, plan.pairs, plan.stored_rows * plan.channels), value, "v")


def products(v: te.Tensor, weights: te.Tensor, plan: RowwisePlan) -> te.Tensor:
    """M of each place: int32 (N, block, place, row, pair, output channel of the block)."""
    ins, conv = plan.instruction, plan.conv
    step, pair = te.reduce_axis((0, plan.steps), "step"), te.reduce_axis((0, ins.pairs), "pair")
    link = [te.reduce_axis((0, ins.links), "link")] if ins.chain > 1 else []

    def value(n: Expr, b: Expr, p: Expr, h: Expr, t: Expr, i: Expr) -> Expr:
        first = h * (conv.strides[0] * plan.channels)
        activation = v[n, p, t, first + step * ins.depth + sum(link) * ins.pairs + pair]
        weight = weights[(b, p, step, i // ins.lanes, *link, i % ins.lanes, pair)]
        return te.sum(activation.astype("int32") * weight.astype("int32"), axis=[step, *link, pair])

    return te.compute((conv.batch, plan.blocks, PLACES, conv.out_height, plan.pairs, plan.block), value, "product")


def stored(
    product: te.Tensor,
    bias: te.Tensor,
    multiplier: te.Tensor,
    limits: te.Tensor,
    residual: te.Tensor | None,
    plan: RowwisePlan,
) -> te.Tensor:
    """A^T M of each pair, as it is stored: `output.dtype`, `plan.stored_shape`."""
    _, _, width, channels = plan.conv.nhwc_shape

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        made = [product[n, c // plan.block, p, h, w // RESULTS, c % plan.block] for p in range(PLACES)]
        acc = one_of(F23.a(made, lambda term, factor: term), w % RESULTS) + bias[w % RESULTS, c]
        added = None
        if residual is not None:  # beyond its edge it repeats
            added = residual[n, h, te.min(w, width - 1), te.min(c, channels - 1)].astype("int32")
        return plan.output.store(acc, multiplier[c], limits, added)

    return te.compute(plan.stored_shape, value, "out")
