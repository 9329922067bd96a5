"""Nearest and bilinear resizing of NHWC tensors of integers, channels side by side in a vector."""

from collections.abc import Sequence

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.loops import loops
from ..common.sizes import innermost_width

# Of each axis' weights: the sum of four products of 2 * 11 + 8 bits, or 2 * 9 + 12, fits int32.
WEIGHT_BITS, WIDE_WEIGHT_BITS = 11, 9


def nearest(shape: Sequence[int], out_size: tuple[int, int], dtype: str, lanes: int) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a nearest resizing: out[n, h, w, c] = x[n, rows[h], columns[w], c].

    Parameters
    ----------
    shape : (int, int, int, int)
        NHWC, of the activations.
    out_size : (int, int)
        Height and width of the result.
    dtype : str
        Of activations and result.
    lanes : int
        Elements of a vector.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, rows int32 (OH,), columns int32 (OW,): where each row and column of the result comes
        from; and the result.
    """
    x = te.placeholder(shape, dtype, "x")
    rows, columns = (te.placeholder((size,), "int32") for size in out_size)
    out = te.compute((shape[0], *out_size, shape[3]), lambda n, h, w, c: x[n, rows[h], columns[w], c], "out")
    return by_pixels(te.create_prim_func([x, rows, columns, out]), lanes)


def bilinear(
    shape: Sequence[int], out_size: tuple[int, int], dtype: str, lanes: int, weight_bits: int = WEIGHT_BITS
) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a bilinear resizing, with weights of so many fractional bits: rounds half up.

    Parameters as for `nearest`.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, rows int32 (OH, 3), columns int32 (OW, 3): for each row and column of the result two of
        the activations and the weight of the second; and the result.
    """
    x = te.placeholder(shape, dtype, "x")
    rows, columns = (te.placeholder((size, 3), "int32") for size in out_size)
    one, bits = tirx.const(1 << weight_bits, "int32"), 2 * weight_bits

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        def across(row: Expr) -> Expr:
            first, second = (x[n, row, columns[w, side], c].astype("int32") for side in (0, 1))
            return first * (one - columns[w, 2]) + second * columns[w, 2]

        total = across(rows[h, 0]) * (one - rows[h, 2]) + across(rows[h, 1]) * rows[h, 2]
        return ((total + tirx.const(1 << (bits - 1), "int32")) >> tirx.const(bits, "int32")).astype(dtype)

    out = te.compute((shape[0], *out_size, shape[3]), value, "out")
    return by_pixels(te.create_prim_func([x, rows, columns, out]), lanes)


def by_pixels(func: tirx.PrimFunc, lanes: int) -> tirx.PrimFunc:
    """Threads share rows; a pixel's channels are vectors."""
    sch = s_tir.Schedule(func)
    at = loops(sch, "out")
    sch.vectorize(sch.split(at.c, [None, innermost_width(int(sch.get(at.c).extent), lanes)])[1])
    sch.parallel(sch.fuse(at.n, at.h))
    return sch.mod["main"]
