"""Max and average pooling on NHWC tensors, channels side by side in a vector."""

from dataclasses import dataclass

from tvm import s_tir, te, tirx

from .common import innermost_width


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

    @property
    def out_shape(self):
        return (self.batch, self.out_height, self.out_width, self.channels)


def max_pool(pool, dtype, lanes):
    """Scheduled PrimFunc of a max pooling: activations (N, H, W, C) and the result, both of `dtype`.

    A window's place outside the tensor reads the nearest place inside, which belongs to the window too.
    """
    x = te.placeholder((pool.batch, pool.height, pool.width, pool.channels), dtype, "x")
    kh, kw = te.reduce_axis((0, pool.kernel[0]), "kh"), te.reduce_axis((0, pool.kernel[1]), "kw")

    def inside(at, extent):
        return te.max(te.min(at, extent - 1), 0)

    acc = te.compute(pool.out_shape, lambda n, h, w, c: te.max(
        x[n, inside(h * pool.strides[0] + kh - pool.padding[0], pool.height),
          inside(w * pool.strides[1] + kw - pool.padding[1], pool.width), c], axis=[kh, kw]), "acc")
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
        row = h * pool.strides[0] + kh - pool.padding[0]
        column = w * pool.strides[1] + kw - pool.padding[1]
        inside = te.all(row >= 0, row < pool.height, column >= 0, column < pool.width)
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


def _schedule(func, pool, lanes):
    sch = s_tir.Schedule(func)
    width = innermost_width(pool.channels, lanes)
    n, h, w, c = sch.get_loops(sch.get_sblock("out"))[:4]
    c_o, c_i = sch.split(c, [None, width])
    acc = sch.get_sblock("acc")
    sch.set_scope(acc, 0, "local")
    sch.compute_at(acc, c_o, preserve_unit_loops=True)
    sch.vectorize(c_i)
    c_i, kh, kw = sch.get_loops(acc)[-3:]
    sch.reorder(kh, kw, c_i)
    # A global pooling has one pixel: its channels are what threads can share.
    sch.parallel(sch.fuse(n, h) if pool.out_height > 1 else sch.fuse(n, h, w, c_o))
    sch.vectorize(c_i)
    init = sch.decompose_reduction(acc, kh)
    sch.vectorize(sch.get_loops(init)[-1])
    return sch.mod["main"]
