"""Layer and RMS normalization over rows of integers: exact moments, an inverse root for a row, fixed-point summands."""

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import ACC_LIMIT, Output, fixed_point, rint, value_of
from ..islands.rows import by_rows

WIDEST = 2**26  # elements of a row times the greatest magnitude, less than: float64 holds the moments exactly


def layer_norm(
    shape: tuple[int, int], dtype: str, limit: int, lanes: int, output: Output, zero: int, centered: bool = True
) -> tirx.PrimFunc:
    """Scheduled PrimFunc: clip((rint(d * r * factors[c]) + summands[c] + half) >> fraction).

    Of each row of q with n elements, d = n * q - sum(q) and r = 1 / sqrt(n * sum(q^2) - sum(q)^2 + least). RMS
    normalization has 0 for sum(q).

    Parameters
    ----------
    shape : (int, int)
        Of q: rows, and elements of each.
    dtype : str
        Of q.
    limit : int
        Greatest magnitude of q.
    lanes : int
        int32 in a vector.
    output : Output
        Its fraction, too.
    zero : int
        What was added to store q.
    centered : bool
        Whether it is layer normalization.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, least float64 (1,), factors float32 (n,), summands int32 (n,), limits, result.
    """
    rows, n = shape
    q, least = te.placeholder(shape, dtype, "q"), te.placeholder((1,), "float64", "least")
    factors, summands = te.placeholder((n,), "float32", "factors"), te.placeholder((n,), "int32", "summands")
    limits = output.limits()
    squares_in = "int32" if n * limit**2 < 2**31 else "float64"
    k, j = te.reduce_axis((0, n), "k"), te.reduce_axis((0, n), "j")

    def square(row: Expr, at: Expr) -> Expr:
        value = value_of(q[row, at], zero)
        return (value * value).astype(squares_in)

    total = te.compute((rows,), lambda row: te.sum(value_of(q[row, k], zero), axis=k), "total")
    squares = te.compute((rows,), lambda row: te.sum(square(row, j), axis=j), "squares")

    def inverse(row: Expr) -> Expr:
        # whole numbers below 2^53: whatever is fused here has one result
        spread = tirx.const(float(n), "float64") * squares[row].astype("float64")
        if centered:
            sum_of = total[row].astype("float64")
            spread = spread - sum_of * sum_of
        spread = spread + least[0]
        return (tirx.const(1.0, "float64") / tirx.sqrt(spread)).astype("float32")

    inverses = te.compute((rows,), inverse, "inverses")

    def value(row: Expr, c: Expr) -> Expr:
        deviation = value_of(q[row, c], zero) * n
        deviation = deviation - total[row] if centered else deviation
        scaled = deviation.astype("float32") * inverses[row] * factors[c]
        term = rint(te.min(te.max(scaled, -ACC_LIMIT), ACC_LIMIT))
        return output.narrow(output.shifted(fixed_point(term + summands[c], output.fraction)), limits)

    out = te.compute(shape, value, "out")
    args = [q, least, factors, summands, limits, out]
    return by_rows(s_tir.Schedule(te.create_prim_func(args)), lanes)
