"""PReLU of a quantized tensor: one multiplier for what is not negative, one for each channel for what is."""

from collections.abc import Sequence

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import Output, value_of
from ..common.loops import loops
from ..common.sizes import PARALLEL_FROM, innermost_width


def rectify(shape: Sequence[int], dtype: str, lanes: int, output: Output, zero: int = 0) -> tirx.PrimFunc:
    """Scheduled PrimFunc: clip(rint(q * (slopes[c] if q < 0 else multiplier))).

    Parameters
    ----------
    shape : sequence of int
        Of q, (rows, C).
    dtype : str
        Of q.
    lanes : int
        Elements of a vector.
    output : Output
    zero : int
        What was added to store q.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, multiplier float32 (1,), slopes float32 (C,), limits, result.
    """
    q = te.placeholder(shape, dtype, "q")
    multiplier, slopes = te.placeholder((1,), "float32", "multiplier"), te.placeholder(shape[1:], "float32", "slopes")
    limits = output.limits()

    def value(row: Expr, c: Expr) -> Expr:
        element = value_of(q[row, c], zero)
        return output.store(element, tirx.Select(element < 0, slopes[c], multiplier[0]), limits)

    sch = s_tir.Schedule(te.create_prim_func([q, multiplier, slopes, limits, te.compute(shape, value, "out")]))
    at = loops(sch, "out")
    sch.vectorize(sch.split(at.c, [None, innermost_width(shape[1], lanes)])[1])
    if shape[0] * shape[1] >= PARALLEL_FROM:
        sch.parallel(sch.split(at.row, [None, max(1, 4096 // shape[1])])[0])
    return sch.mod["main"]
