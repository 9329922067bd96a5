"""Concatenation along the innermost axis: one copy loop for each input."""

from tvm import s_tir
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T


def concat(rows, channels, dtype):
    """Scheduled PrimFunc that joins tensors (rows, channels[i]) to (rows, sum(channels)).

    Parameters
    ----------
    rows : int
        All axes but the last, as one.
    channels : sequence of int
    dtype : str

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: the inputs, then the result.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"tirx.noalias": True})
        inputs = [T.arg(f"x{i}", T.buffer((rows, width), dtype)) for i, width in enumerate(channels)]
        out = T.arg("out", T.buffer((rows, sum(channels)), dtype))
        with T.sblock("root"):
            at = 0
            for i, (x, width) in enumerate(zip(inputs, channels, strict=True)):
                _copy(x, out, rows, width, at, f"copy{i}")
                at += width
    sch = s_tir.Schedule(builder.get())
    for i, width in enumerate(channels):
        row, c = sch.get_loops(sch.get_sblock(f"copy{i}"))
        lanes = next((w for w in (64, 32, 16, 8, 4, 2) if width % w == 0), 1)
        sch.vectorize(sch.split(c, [None, lanes])[1])
        if rows * width > 16384:
            sch.parallel(sch.split(row, [None, max(1, 4096 // width)])[0])
    return sch.mod["main"]


def _copy(x, out, rows, width, at, name):
    with T.grid(rows, width) as (row, c), T.sblock(name):
        vr, vc = T.axis.remap("SS", [row, c])
        T.reads(x[vr, vc])
        T.writes(out[vr, at + vc])
        T.buffer_store(out, x[vr, vc], [vr, at + vc])
