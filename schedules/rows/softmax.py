"""Softmax over rows of integers: exponentials from a table, their sum, and one rounding of each share."""

import numpy as np
from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import Output, rint
from ..islands.looked_up import FLOATS
from ..islands.rows import by_rows

TABLE_BITS = 15  # the exponential of 0 is 2^15
FINE_BITS = 6
FINE = 1 << FINE_BITS  # an exponential is the product of one of so many and one of a multiple of so many steps
LONGEST = 2**16 - 1  # elements of a row: so their sum fits int32


def softmax(shape: tuple[int, int], dtype: str, count: int, lanes: int, output: Output) -> tirx.PrimFunc:
    """Scheduled PrimFunc: clip(rint(t * (inverse / sum of t))), t the exponential of max(q) - q, of each row of q.

    Parameters
    ----------
    shape : (int, int)
        Of q: rows, and elements of each.
    dtype : str
        Of q. What was added to store it makes no difference.
    count : int
        The greatest difference, and one more.
    lanes : int
        int32 in a vector.
    output : Output

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, what `softmax_tables` gives, inverse float32 (1,), limits, result.
    """
    rows, columns = shape
    q = te.placeholder(shape, dtype, "q")
    inverse, limits = te.placeholder((1,), "float32", "inverse"), output.limits()
    k, j = te.reduce_axis((0, columns), "k"), te.reduce_axis((0, columns), "j")
    largest = te.compute((rows,), lambda row: te.max(q[row, k], axis=k), "largest")
    if _in_registers(lanes):
        coarse, fine = (
            te.placeholder((_coarse(count),), "float32", "coarse"),
            te.placeholder((FINE,), "float32", "fine"),
        )
        tables = [coarse, fine]

        def exponential(row: Expr, c: Expr) -> Expr:
            steps = largest[row].astype("int32") - q[row, c].astype("int32")
            return rint(coarse[steps >> FINE_BITS] * fine[steps & (FINE - 1)])
    else:
        table = te.placeholder((count,), "int32", "table")
        tables = [table]

        def exponential(row: Expr, c: Expr) -> Expr:
            # the place as one number of the row and one of the element: an address, which a load adds up by itself
            return table[q[row, c].astype("int32") + (count - 1 - largest[row].astype("int32"))]

    term = te.compute(shape, exponential, "term")
    total = te.compute((rows,), lambda row: te.sum(term[row, j], axis=j), "total")
    share = te.compute((rows,), lambda row: inverse[0] / total[row].astype("float32"), "share")

    def value(row: Expr, c: Expr) -> Expr:
        return output.narrow(output.shifted(rint(term[row, c].astype("float32") * share[row])), limits)

    out = te.compute(shape, value, "out")
    return by_rows(s_tir.Schedule(te.create_prim_func([q, *tables, inverse, limits, out])), lanes)


def softmax_tables(scale: np.float64, count: int, lanes: int) -> list[np.ndarray]:
    """What `softmax` looks exponentials up in: of -scale times 0, 1, ... count - 1.

    One table, the last entry for the row's largest; or two, whose products it rounds, where these fit registers.
    """
    coarse, fine = _factors(scale, count)
    if _in_registers(lanes):
        return [np.pad(coarse, (0, _coarse(count) - len(coarse))), fine]
    return [np.rint(np.multiply.outer(coarse, fine).ravel()[:count])[::-1].astype("int32")]


def _factors(scale: np.float64, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Float32, of multiples of `FINE` steps and of the steps between."""
    coarse = np.exp(-scale * FINE * np.arange(-(-count // FINE))) * 2.0**TABLE_BITS
    return coarse.astype("float32"), np.exp(-scale * np.arange(FINE)).astype("float32")


def _in_registers(lanes: int) -> bool:
    """Whether there are permutations of whole registers, as AVX-512 has them."""
    return lanes == FLOATS


def _coarse(count: int) -> int:
    """Whole registers."""
    return -(-count // (FINE * FLOATS)) * FLOATS
