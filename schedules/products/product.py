"""The product of two quantized tensors, the second of which may have one pixel for all of the first."""

from collections.abc import Sequence

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import Output, value_of
from ..common.loops import loops
from ..common.sizes import innermost_width
from ..operators.elementwise import flat


def product(
    shape: Sequence[int],
    gate: bool,
    dtypes: tuple[str, str],
    lanes: int,
    output: Output,
    zeros: tuple[int, int] = (0, 0),
) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a product, requantized.

    Parameters
    ----------
    shape : sequence of int
        Of the first tensor and of the result.
    gate : bool
        The second tensor is (N, 1, 1, C), the first (N, H, W, C); else both have one shape.
    dtypes : (str, str)
        Of the two tensors.
    lanes : int
        Elements of a vector.
    output : Output
    zeros : (int, int)
        What was added to store the two.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: the two tensors, multiplier float32 (1,), limits, result.
    """
    a = te.placeholder(shape, dtypes[0], "a")
    b = te.placeholder((shape[0], 1, 1, shape[3]) if gate else shape, dtypes[1], "b")
    multiplier = te.placeholder((1,), "float32", "multiplier")
    limits = output.limits()

    def value(*at: Expr) -> Expr:
        factor = b[at[0], 0, 0, at[3]] if gate else b[at]
        return output.store(value_of(a[at], zeros[0]) * value_of(factor, zeros[1]), multiplier[0], limits)

    func = te.create_prim_func(
        [a, b, multiplier, limits, te.compute(shape, value, "out", varargs_names=list("nhwc") if gate else None)]
    )
    if not gate:
        return flat(func)
    sch = s_tir.Schedule(func)
    at = loops(sch, "out")
    sch.vectorize(sch.split(at.c, [None, innermost_width(shape[3], lanes)])[1])
    sch.parallel(sch.fuse(at.n, at.h))
    return sch.mod["main"]
