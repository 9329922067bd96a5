"""Winograd convolution over the integers: a kernel for F(2x2, 3x3), F(4x4, 3x3) and F(3x3, 4x4).

The algorithm (Lavin and Gray, arXiv 1509.09308) with all matrices scaled to integers (`winograd_form`):

    V = B^T d B       input transform: for each channel of each tile d of alpha x alpha inputs, alpha = m + r - 1
    U = G w G^T       for each filter w; ahead of time (`winograd_weights.constants`)
    M = V U           products: for each of the alpha^2 places in a tile, a matrix product over the input channels
    Y = A^T M A       output transform: factor^2 * acc for m x m outputs, which gives acc back exactly

`textbook` is just that. The kernel has the same three steps in a blocked form: tiles are numbered within chunks, and
output channels within blocks, so that a thread takes a chunk through all steps (`winograd_schedule`). Where tiles at an
edge take fewer places, each part (`winograd_plan.Part`) is transformed and multiplied by itself.
"""

from tvm import te, tirx
from tvm.ir import Expr

from ..common.lowered import cropped
from .winograd_plan import Part, WinogradPlan
from .winograd_schedule import scheduled
from .winograd_sums import products_of_sums, tile_sums
from .winograd_transforms import half_transformed, input_transform, padded, stored


def textbook(x: te.Tensor, u: te.Tensor, bt: te.Tensor, at: te.Tensor) -> te.Tensor:
    """The plain algorithm.

    Parameters
    ----------
    x : tvm.te.Tensor
        int32 (N, rows * m + r - 1, cols * m + r - 1, C): the input with its padding, in whole tiles.
    u : tvm.te.Tensor
        int32 (alpha, alpha, O, C).
    bt, at : tvm.te.Tensor
        int32, B^T (alpha, alpha) and A^T (m, alpha).

    Returns
    -------
    tvm.te.Tensor
        int32 (N, rows * m, cols * m, O): factor^2 times the sums of products.
    """
    (m, alpha), (batch, height, width, channels), filters = at.shape, x.shape, u.shape[2]
    rows, cols = (height + m - alpha) // m, (width + m - alpha) // m
    i, j = te.reduce_axis((0, alpha), "i"), te.reduce_axis((0, alpha), "j")
    k = te.reduce_axis((0, channels), "k")
    v = te.compute(
        (alpha, alpha, batch, rows, cols, channels),
        lambda a, b, n, r, q, c: te.sum(bt[a, i] * x[n, r * m + i, q * m + j, c] * bt[b, j], axis=[i, j]),
    )
    product = te.compute(
        (alpha, alpha, batch, rows, cols, filters),
        lambda a, b, n, r, q, o: te.sum(v[a, b, n, r, q, k] * u[a, b, o, k], axis=k),
    )
    return te.compute(
        (batch, rows * m, cols * m, filters),
        lambda n, h, w, o: te.sum(at[h % m, i] * product[i, j, n, h // m, w // m, o] * at[w % m, j], axis=[i, j]),
    )


def winograd_conv(plan: WinogradPlan, offset: int, dtype: str) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a convolution that a form `fits`.

    Parameters
    ----------
    plan : WinogradPlan
    offset : int
        What padding is filled with: the stored form of 0.
    dtype : str
        Dtype of the stored activations.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations (N, H, W, C), weights, bias and multiplier as `constants` makes them, limits, the
        residual if there is one, and the result, both (N, OH, OW, O).
    """
    conv, output, channels = plan.conv, plan.output, (plan.blocks * plan.block,)
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
    weights = te.placeholder(plan.weight_shape, "int16", "weights")
    bias, multiplier = (
        te.placeholder(plan.bias_shape, "int32", "bias"),
        te.placeholder(channels, "float32", "multiplier"),
    )
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None

    image, parts = padded(x, plan, offset), plan.parts
    v = [(input_transform(image, plan, part), part) for part in parts]
    if plan.instruction.sums:
        product = [products_of_sums(*of_part, weights, plan) for of_part in v]
        taken = [tile_sums(*of_part, plan) for of_part in v]
    else:
        product, taken = [products(*of_part, weights, plan) for of_part in v], []
    rows = half_transformed(product, bias, taken, plan)
    out = stored(rows, multiplier, limits, residual, plan)

    args = [x, weights, bias, multiplier, limits, *([residual] if output.residual else []), out]
    return cropped(scheduled(te.create_prim_func(args), plan), conv.nhwc_shape)


def products(v: te.Tensor, part: Part, weights: te.Tensor, plan: WinogradPlan) -> te.Tensor:
    """M = V U for each place: (tile, channel) times (channel, output channel).

    Parameters
    ----------
    v : tvm.te.Tensor
        As from `winograd_transforms.input_transform`.
    part : Part
        What it is of.
    weights : tvm.te.Tensor
        int16 `plan.weight_shape`.
    plan : WinogradPlan

    Returns
    -------
    tvm.te.Tensor
        int32 (N, chunk, block, place, tile, output channel of the block).
    """
    ins, tile, pieces = plan.instruction, part.tile, plan.tiling.pieces
    step = te.reduce_axis((0, plan.steps // max(1, pieces)), "step")
    pair = te.reduce_axis((0, ins.depth), "pair")
    piece = [te.reduce_axis((0, pieces), "piece")] if pieces else []

    def operands(n: Expr, s: Expr, b: Expr, p: Expr, t: Expr, i: Expr) -> tuple[Expr, Expr]:
        place = part.start + p
        if pieces:
            at = step * pieces + piece[0]
            return v[n, s, p, t // tile, at, t % tile, pair], weights[b, place, at, pair, i]
        lane = (i % ins.lanes, pair) if ins.chain == 1 else (pair, i % ins.lanes)
        return v[n, s, p, t, step * ins.depth + pair], weights[(b, place, step, i // ins.lanes, *lane)]

    def value(n: Expr, s: Expr, b: Expr, p: Expr, t: Expr, i: Expr) -> Expr:
        activation, weight = operands(n, s, b, p, t, i)
        return te.sum(activation.astype("int32") * weight.astype("int32"), axis=[step, *piece, pair])

    shape = plan.conv.batch, plan.chunks, plan.blocks, part.places, part.padded_tiles, plan.block
    return te.compute(shape, value, part.named("product"))
