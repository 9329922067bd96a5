"""Max and average pooling on NHWC tensors, channels side by side in a vector."""

from dataclasses import dataclass

from tvm import s_tir, te, tirx

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
    def out_shape(self):
        return (self.batch, self.out_height, self.out_width, self.channels)


def max_pool(pool, dtype, lanes):
    """Scheduled PrimFunc of a max pooling: activations (N, H, W, C) and the result, both of `dtype`."""
    x = te.placeholder((pool.batch, pool.height, pool.width, pool.channels), dtype, "x")
    kh, kw = te.reduce_axis((0, pool.kernel[0]), "kh"), te.reduce_axis((0, pool.kernel[1]), "kw")

    def element(n, h, w, c):
        row, column, inside = _place(pool, h, w, kh, kw)
        if pool.dilation == (1, 1):  # the nearest place inside belongs to the window too: no need to ask
            row, column = te.max(te.min(row, pool.height - 1), 0), te.max(te.min(column, pool.width - 1), 0)
            return x[n, row, column, c]
        return te.if_then_else(inside, x[n, row, column, c], te.min_value(dtype))

    acc = te.compute(pool.out_shape, lambda *at: te.max(element(*at), axis=[kh, kw]), "acc")
    out = te.compute(pool.out_shape, lambda *at: acc[at], "out")
    return _schedule(te.create_prim_func([x, out]), pool, lanes)


def avg_pool(pool, dtype, lanes, output):
    """Scheduled PrimFunc of an average pooling: the exact sum of each window, then requantized.

    Parameters
    ----------
    pool : Pool2D
        The global average pooling is the one whose kernel covers the tensor.
    dtype : str
        Dtype of the activations, shape (N, H, W, C).
    lanes : int
    output : Output

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, multiplier float32 (OH, OW) (it holds each window's count), limits, the residual if
        there is one, and the result.
    """
    total = "float32" if dtype == "float32" else "int32"
    x = te.placeholder((pool.batch, pool.height, pool.width, pool.channels), dtype, "x")
    multiplier = te.placeholder((pool.out_height, pool.out_width), "float32", "multiplier")
    limits = output.limits()
    kh, kw = te.reduce_axis((0, pool.kernel[0]), "kh"), te.reduce_axis((0, pool.kernel[1]), "kw")

    def element(n, h, w, c):
        row, column, inside = _place(pool, h, w, kh, kw)
        return te.if_then_else(inside, x[n, row, column, c].astype(total), tirx.const(0, total))

    acc = te.compute(pool.out_shape, lambda *at: te.sum(element(*at), axis=[kh, kw]), "acc")

    residual = te.placeholder(pool.out_shape, output.residual, "residual") if output.residual else None

    def store(n, h, w, c):
        added = residual[n, h, w, c] if output.residual else None
        if total == "float32":
            return output.store(acc[n, h, w, c] * multiplier[h, w], None, limits, added)
        return output.store(acc[n, h, w, c], multiplier[h, w], limits, added)

    out = te.compute(pool.out_shape, store, "out")
    args = [x, multiplier, limits, *([residual] if output.residual else []), out]
    return _schedule(te.create_prim_func(args), pool, lanes)


def _place(pool, h, w, kh, kw):
    """Where an element of a window lies, and whether it is in the tensor."""
    row = h * pool.strides[0] + kh * pool.dilation[0] - pool.padding[0]
    column = w * pool.strides[1] + kw * pool.dilation[1] - pool.padding[1]
    return row, column, te.all(row >= 0, row < pool.height, column >= 0, column < pool.width)


def _schedule(func, pool, lanes):
    """A window at a time, with the accumulators of several vectors of channels in registers."""
    sch = s_tir.Schedule(func)
    width = innermost_width(pool.channels, lanes)
    vectors = next(count for count in range(MOST_VECTORS, 0, -1) if pool.channels % (width * count) == 0)
    n, h, w, c = sch.get_loops(sch.get_sblock("out"))[:4]
    c_o, c_v, c_i = sch.split(c, [None, vectors, width])
    acc = sch.get_sblock("acc")
    sch.set_scope(acc, 0, "local")
    sch.compute_at(acc, c_o, preserve_unit_loops=True)
    sch.unroll(c_v)
    sch.vectorize(c_i)
    c, kh, kw = sch.get_loops(acc)[-3:]
    c_v, c_i = sch.split(c, [vectors, width])
    sch.reorder(kh, kw, c_v, c_i)
    # A global pooling has one pixel: its channels are what threads can share.
    sch.parallel(sch.fuse(n, h) if pool.out_height > 1 else sch.fuse(n, h, w, c_o))
    sch.unroll(c_v)
    sch.vectorize(c_i)
    init = sch.get_loops(sch.decompose_reduction(acc, kh))
    sch.unroll(init[-2])
    sch.vectorize(init[-1])
    if pool.kernel[0] * pool.kernel[1] <= MOST_UNROLLED:
        sch.unroll(kh)
        sch.unroll(kw)
    return lowered(sch.mod["main"])
