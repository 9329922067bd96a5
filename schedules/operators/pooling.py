"""Max and average pooling on NHWC tensors, channels side by side in a vector."""

from dataclasses import dataclass

from tvm import s_tir, te, tirx
from tvm.tirx import Expr, IterVar

from ..common.epilogue import Output, value_of
from ..common.loops import along, loops
from ..common.lowered import lowered
from ..common.sizes import innermost_width

MOST_VECTORS = 8  # of accumulators; a processor has at least 16 registers
MOST_UNROLLED = 9  # elements of a window


@dataclass(frozen=True)
class Pool2D:
    """The shape of a 2-D pooling; the output's size is given, as rounding up or down decides it."""

    batch: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, left, bottom, right
    out_height: int
    out_width: int
    dilation: tuple[int, int] = (1, 1)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Shape of the result, (N, OH, OW, C)."""
        return (self.batch, self.out_height, self.out_width, self.channels)


def max_pool(pool: Pool2D, dtype: str, lanes: int) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a max pooling: out[n, h, w, c] = the maximum of x over the window of (h, w).

    Parameters
    ----------
    pool : Pool2D
    dtype : str
        Of activations and result.
    lanes : int
        Elements of a vector.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations (N, H, W, C) and the result (N, OH, OW, C).
    """
    x = te.placeholder((pool.batch, pool.height, pool.width, pool.channels), dtype, "x")
    kh, kw = _window(pool)

    def element(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        row, column, inside = _place(pool, h, w, kh, kw)
        if pool.dilation == (1, 1):  # the nearest place inside belongs to the window too: no need to ask
            row, column = te.max(te.min(row, pool.height - 1), 0), te.max(te.min(column, pool.width - 1), 0)
            return x[n, row, column, c]
        return te.if_then_else(inside, x[n, row, column, c], te.min_value(dtype))

    acc = te.compute(pool.out_shape, lambda n, h, w, c: te.max(element(n, h, w, c), axis=[kh, kw]), "acc")
    out = te.compute(pool.out_shape, lambda n, h, w, c: acc[n, h, w, c], "out")
    return _schedule(te.create_prim_func([x, out]), pool, lanes)


def avg_pool(pool: Pool2D, dtype: str, lanes: int, output: Output, zero: int = 0) -> tirx.PrimFunc:
    """Scheduled PrimFunc of an average pooling: acc[n, h, w, c] = the sum of x over the window of (h, w), requantized.

    Parameters
    ----------
    pool : Pool2D
        The global average pooling is the one whose kernel covers the tensor.
    dtype : str
        Dtype of the activations.
    lanes : int
        Elements of a vector of sums.
    output : Output
    zero : int
        What was added to store the activations.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations (N, H, W, C), multiplier float32 (OH, OW) (it holds each window's count), limits, the
        residual if there is one, and the result, both (N, OH, OW, C).
    """
    total = "float32" if dtype == "float32" else "int32"
    x = te.placeholder((pool.batch, pool.height, pool.width, pool.channels), dtype, "x")
    multiplier = te.placeholder((pool.out_height, pool.out_width), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(pool.out_shape, output.residual, "residual") if output.residual else None
    kh, kw = _window(pool)

    def element(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        row, column, inside = _place(pool, h, w, kh, kw)
        value = x[n, row, column, c]
        value = value if total == "float32" else value_of(value, zero)
        return te.if_then_else(inside, value, tirx.const(0, total))

    acc = te.compute(pool.out_shape, lambda n, h, w, c: te.sum(element(n, h, w, c), axis=[kh, kw]), "acc")

    def store(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        added = None if residual is None else residual[n, h, w, c]
        if total == "float32":
            return output.store(acc[n, h, w, c] * multiplier[h, w], None, limits, added)
        return output.store(acc[n, h, w, c], multiplier[h, w], limits, added)

    out = te.compute(pool.out_shape, store, "out")
    args = [x, multiplier, limits, *([] if residual is None else [residual]), out]
    return _schedule(te.create_prim_func(args), pool, lanes)


def _window(pool: Pool2D) -> tuple[IterVar, IterVar]:
    """The axes kh and kw."""
    return te.reduce_axis((0, pool.kernel[0]), "kh"), te.reduce_axis((0, pool.kernel[1]), "kw")


def _place(pool: Pool2D, h: Expr, w: Expr, kh: Expr, kw: Expr) -> tuple[Expr, Expr, Expr]:
    """Row and column of an element of a window, and whether it is in the tensor."""
    row = h * pool.strides[0] + kh * pool.dilation[0] - pool.padding[0]
    column = w * pool.strides[1] + kw * pool.dilation[1] - pool.padding[1]
    return row, column, te.all(row >= 0, row < pool.height, column >= 0, column < pool.width)


def _schedule(func: tirx.PrimFunc, pool: Pool2D, lanes: int) -> tirx.PrimFunc:
    """A window at a time, with the accumulators of several vectors of channels in registers."""
    sch = s_tir.Schedule(func)
    width = innermost_width(pool.channels, lanes)
    vectors = next(count for count in range(MOST_VECTORS, 0, -1) if pool.channels % (width * count) == 0)

    out = loops(sch, "out")
    block, vector, lane = sch.split(out.c, [None, vectors, width])
    sch.set_scope(sch.get_sblock("acc"), 0, "local")
    sch.compute_at(sch.get_sblock("acc"), block, preserve_unit_loops=True)
    sch.unroll(vector)
    sch.vectorize(lane)

    acc = loops(sch, "acc")
    vector, lane = sch.split(acc.c, [vectors, width])
    sch.reorder(acc.kh, acc.kw, vector, lane)
    # A global pooling has one pixel: its channels are what threads can share.
    sch.parallel(sch.fuse(out.n, out.h) if pool.out_height > 1 else sch.fuse(out.n, out.h, out.w, block))
    sch.unroll(vector)
    sch.vectorize(lane)
    if pool.kernel[0] * pool.kernel[1] <= MOST_UNROLLED:
        sch.unroll(acc.kh)
        sch.unroll(acc.kw)

    *_, vector, lane = along(sch, sch.decompose_reduction(sch.get_sblock("acc"), acc.kh), "c")
    sch.unroll(vector)
    sch.vectorize(lane)
    return lowered(sch.mod["main"])
