"""What is done to a Winograd kernel's activations before its products, and to the products behind them.

Each transform is of a tile's columns first, then of its rows.
"""

from collections.abc import Callable, Mapping, Sequence

from tvm import te, tirx
from tvm.ir import Expr

from .winograd_form import Edge, Winograd
from .winograd_plan import Part, WinogradPlan

Term = Callable[[int], Expr]


def padded(x: te.Tensor, plan: WinogradPlan, offset: int) -> te.Tensor:
    """(N, H, W, C) activations as whole tiles and steps, (N, rows * m + r - 1, cols * m + r - 1, channels)."""
    conv, m, around = plan.conv, plan.winograd.m, plan.winograd.taps - 1
    shape = (conv.batch, plan.rows * m + around, plan.cols * m + around, plan.channels)
    top, left, _, _ = conv.padding
    fill = tirx.const(offset, x.dtype)
    if plan.stride > 1:
        return _phases(_image(x, plan, shape[1:3], fill), plan, shape)
    if shape == tuple(int(extent) for extent in x.shape):
        return x

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        inside = [h >= top, h < top + conv.height, w >= left, w < left + conv.width]
        if plan.channels != conv.in_channels:
            inside.append(c < conv.in_channels)
        return te.if_then_else(te.all(*inside), x[n, h - top, w - left, c], fill)

    return te.compute(shape, value, "padded")


def _image(x: te.Tensor, plan: WinogradPlan, size: tuple[int, int], fill: Expr) -> te.Tensor:
    """Activations with their padding, the pixels of a row side by side."""
    conv, channels = plan.conv, plan.conv.in_channels
    top, left, _, _ = conv.padding

    def value(n: Expr, h: Expr, i: Expr) -> Expr:
        w = i // channels
        inside = te.all(h >= top, h < top + conv.height, w >= left, w < left + conv.width)
        return te.if_then_else(inside, x[n, h - top, w - left, i % channels], fill)

    height, width = (plan.stride * extent for extent in size)
    behind = plan.run - plan.stride * channels
    return te.compute((conv.batch, height, width * channels + behind), value, "image")


def _phases(image: te.Tensor, plan: WinogradPlan, shape: tuple[int, ...]) -> te.Tensor:
    """The channels of each phase: see `winograd_form.phases`. What fills up a run meets weights of zero."""
    distance = plan.stride * plan.conv.in_channels
    return te.compute(
        shape, lambda n, h, w, c: image[n, plan.stride * h + c // plan.run, distance * w + c % plan.run], "padded"
    )


def input_transform(x: te.Tensor, plan: WinogradPlan, part: Part) -> te.Tensor:
    """V = B^T d B: the columns of each tile first, then its rows.

    Parameters
    ----------
    x : tvm.te.Tensor
        As from `padded`.
    plan : WinogradPlan
    part : Part
        Of the plan: what is transformed.

    Returns
    -------
    tvm.te.Tensor
        int16 (N, chunk, place, tile, channel), or in the order in which assembly reads it, (N, chunk, place,
        tiles // tile, step, tile, channel of the step). What is beyond the part's tiles repeats the last.
    """
    conv, winograd, tiling = plan.conv, plan.winograd, plan.tiling
    m, alpha, depth = winograd.m, winograd.alpha, plan.instruction.depth
    (down, across), wide = plan.edges, len(part.place_columns)

    def transformed(edge: Edge | None, last: Expr, places: tuple[int, ...], index: Expr, term: Term) -> Expr:
        terms, times = [term(k) for k in range(alpha)], _times_in("int16")
        values = winograd.b(terms, times)
        if edge:
            values = _at_edge(last, values, dict(zip(edge.places, edge.b(terms, times), strict=True)))
        return one_of([values[place] for place in places], index)

    columns = te.compute(
        (conv.batch, plan.rows, plan.cols, len(part.place_rows), alpha, plan.channels),
        lambda n, r, q, i, j, c: transformed(
            down if part.rows == plan.rows else None,
            r >= plan.rows - 1,
            part.place_rows,
            i,
            lambda k: x[n, r * m + k, q * m + j, c].astype("int16"),
        ),
        part.named("columns"),
    )

    def value(n: Expr, s: Expr, p: Expr, t: Expr, c: Expr) -> Expr:
        tile = te.min(t, part.tiles - 1)
        r, q = s * tiling.chunk + tile // part.columns, tile % part.columns
        return transformed(
            across if part.columns == plan.cols else None,
            q >= plan.cols - 1,
            part.place_columns,
            p % wide,
            lambda k: columns[n, r, q, p // wide, k, c],
        )

    shape = (conv.batch, plan.chunks, part.places)
    if not tiling.pieces:
        return te.compute((*shape, part.padded_tiles, plan.channels), value, part.named("v"))
    return te.compute(
        (*shape, part.padded_tiles // part.tile, plan.steps, part.tile, depth),
        lambda n, s, p, t_o, step, t, c: value(n, s, p, t_o * part.tile + t, step * depth + c),
        part.named("v"),
    )


def half_transformed(
    product: Sequence[te.Tensor], bias: te.Tensor, taken: Sequence[te.Tensor], plan: WinogradPlan
) -> te.Tensor:
    """A^T M, the first half of the output transform, with the bias in the place from which it reaches every output.

    Parameters
    ----------
    product : sequence of tvm.te.Tensor
        As from `winograd.products`, of each part.
    bias : tvm.te.Tensor
        int32 `plan.bias_shape`.
    taken : sequence of tvm.te.Tensor
        As from `winograd_sums.tile_sums`, of each part; or none.
    plan : WinogradPlan

    Returns
    -------
    tvm.te.Tensor
        int32 (N, row of tiles, tile, output row of the tile, column of the place, output channel).
    """
    conv, winograd, block = plan.conv, plan.winograd, plan.block
    m, alpha, chunk = winograd.m, winograd.alpha, plan.tiling.chunk
    order, parts = plan.place_order, plan.parts

    def biased(n: Expr, r: Expr, q: Expr, k: int, j: int, c: Expr) -> Expr:
        if k * alpha + j not in order:
            return tirx.const(0, "int32")
        place = order.index(k * alpha + j)
        part = next(part for part in reversed(parts) if part.start <= place)
        # A tile at the edge that does not take the place reads another's, for nothing.
        row = r % chunk if part.rows == chunk else te.min(r, part.rows - 1)
        tile = row * part.columns + (q if part.columns == plan.cols else te.min(q, part.columns - 1))
        if part.padded_tiles > part.tiles:  # or only the tiles that are read would be computed
            tile = tirx.reinterpret("int32", tile.astype("uint32"))
        at = product[part.index][n, r // chunk, c // block, place - part.start, tile, c % block]
        if taken:
            return at + bias[place, c] - taken[part.index][n, r // chunk, place - part.start, tile]
        return at + bias[c] if (k, j) == (1, 1) else at

    def value(n: Expr, r: Expr, q: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        columns = ([biased(n, r, q, k, column, c) for k in range(alpha)] for column in range(alpha))
        return one_of([_outputs(winograd, plan.edges[0], r >= plan.rows - 1, i, terms) for terms in columns], j)

    return te.compute((conv.batch, plan.rows, plan.cols, m, alpha, plan.blocks * block), value, "rows")


def stored(
    rows: te.Tensor, multiplier: te.Tensor, limits: te.Tensor, residual: te.Tensor | None, plan: WinogradPlan
) -> te.Tensor:
    """Y = (A^T M) A, the second half of the output transform, as it is stored.

    Parameters
    ----------
    rows : tvm.te.Tensor
        As from `half_transformed`.
    multiplier : tvm.te.Tensor
        float32 (blocks * block,).
    limits : tvm.te.Tensor
        See `Output`.
    residual : tvm.te.Tensor or None
        (N, OH, OW, O).
    plan : WinogradPlan

    Returns
    -------
    tvm.te.Tensor
        `output.dtype`, `plan.stored_shape`.
    """
    winograd, added = plan.winograd, None if residual is None else _added(residual, plan)
    m, alpha = winograd.m, winograd.alpha

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        r, q = h // m, w // m
        terms = [rows[n, r, q, h % m, k, c] for k in range(alpha)]
        acc = _outputs(winograd, plan.edges[1], q >= plan.cols - 1, w % m, terms)
        if winograd.inverse != 1:
            # Reinterpreted, or the simplifier multiplies it by other constants, beyond int32.
            acc = acc * tirx.reinterpret("int32", tirx.const(winograd.inverse, "uint32"))
        return plan.output.store(acc, multiplier[c], limits, None if added is None else added(n, h, w, c))

    return te.compute(plan.stored_shape, value, "out")


def _added(residual: te.Tensor, plan: WinogradPlan) -> Callable[..., Expr]:
    """The residual as int32 for each stored element; beyond its edge it repeats."""
    _, height, width, channels = plan.conv.nhwc_shape

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        inside = (n, te.min(h, height - 1), te.min(w, width - 1), te.min(c, channels - 1))
        return residual[inside].astype("int32")

    # ARM loads it before it is needed.
    return te.compute(plan.stored_shape, value, "added") if plan.instruction.neon else value


def _outputs(winograd: Winograd, edge: Edge | None, last: Expr, index: Expr, terms: Sequence[Expr]) -> Expr:
    """Output `index`, the variable of a loop that will be unrolled, of a product with A^T."""
    times = _times_in("int32")
    values = winograd.a(terms, times)
    return one_of(_at_edge(last, values, dict(enumerate(edge.a(terms, times)))) if edge else values, index)


def _at_edge(last: Expr, values: Sequence[Expr], others: Mapping[int, Expr]) -> list[Expr]:
    """The values, some of which are others for the last tile."""
    return [te.if_then_else(last, others[k], value) if k in others else value for k, value in enumerate(values)]


def one_of(values: Sequence[Expr], index: Expr) -> Expr:
    """Value `index`, the variable of a loop that will be unrolled."""
    *first, value = values
    for k in range(len(first) - 1, -1, -1):
        value = tirx.Select(index == k, first[k], value)
    return value


def _times_in(dtype: str) -> Callable[[Expr, int], Expr]:
    return lambda x, factor: x * tirx.const(factor, dtype)
