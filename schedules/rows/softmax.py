"""Softmax over rows of integers: exponentials from a table, their sum, and one rounding of each share."""

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import Output, rint
from ..islands.looked_up import MOST_WORDS, WORDS
from ..islands.rows import by_rows

TABLE_BITS = 15  # the exponential of 0 is 2^15
LONGEST = 2**16 - 1  # elements of a row: so their sum fits int32


def softmax(shape: tuple[int, int], dtype: str, count: int, lanes: int, output: Output) -> tirx.PrimFunc:
    """Scheduled PrimFunc: clip(rint(t * (inverse / sum of t))), t = table[q - max(q) + count - 1], of each row of q.

    Parameters
    ----------
    shape : (int, int)
        Of q: rows, and elements of each.
    dtype : str
        Of q. What was added to store it makes no difference.
    count : int
        Entries of the table, the last for the row's largest: the greatest difference, and one more.
    lanes : int
        int32 in a vector.
    output : Output

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, table in the form that `table_form` says, inverse float32 (1,), limits, result.
    """
    rows, columns = shape
    length, form = table_form(count, lanes)
    q, table = te.placeholder(shape, dtype, "q"), te.placeholder((length,), form, "table")
    inverse, limits = te.placeholder((1,), "float32", "inverse"), output.limits()
    k, j = te.reduce_axis((0, columns), "k"), te.reduce_axis((0, columns), "j")
    largest = te.compute((rows,), lambda row: te.max(q[row, k], axis=k), "largest")
    # the place as one number of the row and one of the element: an address, which a load adds up by itself
    term = te.compute(
        shape, lambda row, c: table[q[row, c].astype("int32") + (count - 1 - largest[row].astype("int32"))], "term"
    )
    total = te.compute((rows,), lambda row: te.sum(term[row, j].astype("int32"), axis=j), "total")
    share = te.compute((rows,), lambda row: inverse[0] / total[row].astype("float32"), "share")

    def value(row: Expr, c: Expr) -> Expr:
        return output.narrow(output.shifted(rint(term[row, c].astype("float32") * share[row])), limits)

    out = te.compute(shape, value, "out")
    return by_rows(s_tir.Schedule(te.create_prim_func([q, table, inverse, limits, out])), lanes)


def table_form(count: int, lanes: int) -> tuple[int, str]:
    """Length and dtype of a table of `count` entries, for vectors of `lanes` int32: more are never looked up."""
    if lanes == 16 and count <= MOST_WORDS:
        return -(-count // WORDS) * WORDS, "uint16"
    return count, "int32"
