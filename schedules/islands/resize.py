"""Resizing of float32: bilinear with channels side by side in a vector, nearest along rows."""

from collections.abc import Sequence

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.loops import loops
from ..operators.resize import by_pixels


def bilinear(shape: Sequence[int], out_size: tuple[int, int], lanes: int) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a bilinear resizing of an NHWC tensor: along columns, then along rows.

    Parameters
    ----------
    shape : (int, int, int, int)
        NHWC, of the activations.
    out_size : (int, int)
        Height and width of the result.
    lanes : int
        Elements of a vector.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, rows int32 (OH, 2), columns int32 (OW, 2): for each row and column of the result two of
        the activations; weights of the second ones, float32 (OH,) and (OW,); and the result.
    """
    x = te.placeholder(shape, "float32", "x")
    rows, columns = (te.placeholder((size, 2), "int32") for size in out_size)
    down, across = (te.placeholder((size,), "float32") for size in out_size)

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        upper, lower = (
            _between(x[n, rows[h, side], columns[w, 0], c], x[n, rows[h, side], columns[w, 1], c], across[w])
            for side in (0, 1)
        )
        return _between(upper, lower, down[h])

    out = te.compute((shape[0], *out_size, shape[3]), value, "out")
    return by_pixels(te.create_prim_func([x, rows, columns, down, across, out]), lanes)


def nearest(shape: Sequence[int], out_size: tuple[int, int]) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a nearest resizing of an NCHW tensor: out[n, c, h, w] = x[n, c, rows[h], columns[w]].

    Rows are left to LLVM, which knows what gathering elements costs a processor.

    Parameters
    ----------
    shape : (int, int, int, int)
        NCHW, of the activations.
    out_size : (int, int)
        Height and width of the result.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, rows int32 (OH,), columns int32 (OW,), and the result.
    """
    x = te.placeholder(shape, "float32", "x")
    rows, columns = (te.placeholder((size,), "int32") for size in out_size)
    out = te.compute((*shape[:2], *out_size), lambda n, c, h, w: x[n, c, rows[h], columns[w]], "out")
    sch = s_tir.Schedule(te.create_prim_func([x, rows, columns, out]))
    at = loops(sch, "out")
    sch.parallel(sch.fuse(at.n, at.c))
    return sch.mod["main"]


def _between(first: Expr, second: Expr, weight: Expr) -> Expr:
    return first + (second - first) * weight
