"""Any function of integers: looked up in a table that the compiler makes, of 256 entries where they have 8 bits."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import s_tir, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import Expr

from ..common.sizes import innermost_width
from ..processor.intrinsics import llvm

ROW = 16  # entries that fit the smallest vector register


def lookup(shape: Sequence[int], dtype: str, out_dtype: str, low: int = 0, count: int = 256) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a table lookup, entry by entry: out = table[q - low]; of bytes table[q modulo 256].

    Parameters
    ----------
    shape : sequence of int
        Of q and the result.
    dtype : str
        Of q: "int8", "uint8" or "int16".
    out_dtype : str
        Of table and result.
    low, count : int
        The least q, and how many there are; of bytes 0 and 256.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: integers q, table (count,), and the result.
    """
    q = te.placeholder(shape, dtype, "q")
    table = te.placeholder((count,), out_dtype, "table")

    def place(value: Expr) -> Expr:
        return value.astype("int32") - low if dtype == "int16" else value.astype("uint8").astype("int32")

    out = te.compute(shape, lambda *at: table[place(q[at])], "out")
    sch = s_tir.Schedule(te.create_prim_func([q, table, out]))
    size = math.prod(shape)
    width = innermost_width(size, 16)
    outer, inner = sch.split(sch.fuse(*sch.get_loops(sch.get_sblock("out"))), [None, width])
    sch.unroll(inner)  # a plain loop LLVM would vectorize, by gathers of 32 bits: three times slower
    if size > 16384:
        outer, _ = sch.split(outer, [None, innermost_width(size // width, 256)])
        sch.parallel(outer)
    return sch.mod["main"]


def vector_lookup(size: int, dtype: str, out_dtype: str, low: int, high: int, lanes: int) -> tirx.PrimFunc:
    """PrimFunc of a lookup of 8-bit entries in a vector at a time, by permutations of bytes.

    Parameters
    ----------
    size : int
        Of the tensors, as one axis; at least `lanes`.
    dtype, out_dtype : str
        "int8" or "uint8".
    low, high : int
        Range of the integers: parts of the table outside cost nothing.
    lanes : int
        32 (AVX2), 64 (AVX-512) or 16 (ARM).

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: integers q, table from `pack_table`, and the result.
    """
    chunk = 64
    vectors = -(-size // lanes)
    look_up = _tbl if lanes == ROW else _pshufb
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"tirx.noalias": True})
        q = T.arg("q", T.buffer((size,), dtype))
        table = T.arg("table", T.buffer((256 // ROW, lanes), "int8"))
        out = T.arg("out", T.buffer((size,), out_dtype))
        with T.sblock("root"):
            loop = T.parallel if size > 16384 else T.serial
            with loop(0, -(-vectors // chunk)) as o, T.serial(0, min(vectors, chunk)) as i:
                at = T.min((o * chunk + i) * lanes, size - lanes)  # the last ones overlap
                x = T.reinterpret(q.vload([at], f"{dtype}x{lanes}"), dtype=f"int8x{lanes}")
                found = look_up(table, x, low, high, lanes)
                T.buffer_store(out, T.reinterpret(found, dtype=f"{out_dtype}x{lanes}"), [T.ramp(at, 1, lanes)])
    return builder.get()


def pack_table(table: NDArray[Any], lanes: int) -> NDArray[np.int8]:
    """256 entries of 8 bits, that of q at q modulo 256, as `vector_lookup` takes them: (16, lanes)."""
    rows = table.view("int8").reshape(-1, ROW).copy()
    if lanes > ROW:  # each row of a half is what it changes of the one before
        for half in (slice(0, 8), slice(8, 16)):
            rows[half][1:] ^= rows[half][:-1].copy()
    return np.tile(rows, lanes // ROW)


def _pshufb(table: tirx.Buffer, x: Expr, low: int, high: int, lanes: int) -> Expr:
    """Vpshufb looks up 16 entries by the low half of each byte, and gives 0 for negative bytes.

    So with 16 taken away from x for each row, all rows up to that of x answer: the differences to the rows before.
    """
    name = {32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}[lanes]
    vector, total = f"int8x{lanes}", None
    codes = {q % 256 for q in range(low, high + 1)}
    for first, half in ((0, range(128)), (8, range(128, 256))):
        inside = codes.intersection(half)
        if not inside:
            continue
        y = x ^ T.broadcast(T.int8(-128), lanes) if first else x
        for row in range(first, max(inside) // ROW + 1):
            answer = llvm(name, vector, table.vload([row, 0], vector), y)
            total = answer if total is None else total ^ answer
            y = llvm("llvm.ssub.sat", vector, y, T.broadcast(T.int8(ROW), lanes))
    return total


def _tbl(table: tirx.Buffer, x: Expr, low: int, high: int, _lanes: int) -> Expr:
    """Tbl looks up 64 entries; tbx leaves what lies outside of its 64 as it is."""
    total = None
    for block in sorted({q % 256 // 64 for q in range(low, high + 1)}):
        rows = [table.vload([4 * block + row, 0], "int8x16") for row in range(4)]
        y = x - T.broadcast(T.int8(64 * block - 256 * (block > 1)), ROW) if block else x
        if total is None:
            total = llvm("llvm.aarch64.neon.tbl4.v16i8", "int8x16", *rows, y)
        else:
            total = llvm("llvm.aarch64.neon.tbx4.v16i8", "int8x16", total, *rows, y)
    return total
