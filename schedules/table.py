"""Any function of 8-bit integers: looked up in a table of 256 entries that the compiler makes."""

import math

from tvm import s_tir, te

from .common import innermost_width


def lookup(shape, dtype, out_dtype):
    """Scheduled PrimFunc of a table lookup.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        "int8" or "uint8".
    out_dtype : str

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: integers q, table (256,) with the entry of q at q modulo 256, and the result.
    """
    q = te.placeholder(shape, dtype, "q")
    table = te.placeholder((256,), out_dtype, "table")
    out = te.compute(shape, lambda *at: table[q[at].astype("uint8").astype("int32")], "out")
    sch = s_tir.Schedule(te.create_prim_func([q, table, out]))
    size = math.prod(shape)
    width = innermost_width(size, 16)
    outer, inner = sch.split(sch.fuse(*sch.get_loops(sch.get_sblock("out"))), [None, width])
    sch.unroll(inner)  # a plain loop LLVM would vectorize, by gathers of 32 bits: three times slower
    if size > 16384:
        outer, _ = sch.split(outer, [None, innermost_width(size // width, 256)])
        sch.parallel(outer)
    return sch.mod["main"]
