"""Concatenation along the innermost axis: one copy loop for each input."""

from collections.abc import Sequence

from tvm import s_tir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T


def concat(
    rows: int,
    channels: Sequence[int],
    dtype: str,
    firsts: Sequence[int] | None = None,
    whole: int | None = None,
) -> tirx.PrimFunc:
    """Scheduled PrimFunc that copies tensors (rows, channels[i]) side by side into a larger one.

    Parameters
    ----------
    rows : int
        All axes but the last, as one.
    channels : sequence of int
        Of each input.
    dtype : str
        Of all tensors.
    firsts : sequence of int, optional
        The channel of the result at which each tensor begins; by default they follow each other, and are all of it.
    whole : int, optional
        Channels of the result, given with `firsts`; those that no input takes stay as they are.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: the inputs, then the result (rows, whole).
    """
    if firsts is None:
        firsts, whole = [sum(channels[:i]) for i in range(len(channels))], sum(channels)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"tirx.noalias": True})
        inputs = [T.arg(f"x{i}", T.buffer((rows, width), dtype)) for i, width in enumerate(channels)]
        out = T.arg("out", T.buffer((rows, whole), dtype))
        with T.sblock("root"):
            for i, (x, width, first) in enumerate(zip(inputs, channels, firsts, strict=True)):
                _copy(x, out, rows, width, first, f"copy{i}")
    sch = s_tir.Schedule(builder.get())
    for i, width in enumerate(channels):
        row, c = sch.get_loops(sch.get_sblock(f"copy{i}"))
        lanes = next((w for w in (64, 32, 16, 8, 4, 2) if width % w == 0), 1)
        sch.vectorize(sch.split(c, [None, lanes])[1])
        if rows * width > 16384:
            sch.parallel(sch.split(row, [None, max(1, 4096 // width)])[0])
    return sch.mod["main"]


def _copy(x: tirx.Buffer, out: tirx.Buffer, rows: int, width: int, at: int, name: str) -> None:
    """out[row, at + c] = x[row, c]."""
    with T.grid(rows, width) as (row, c), T.sblock(name):
        vr, vc = T.axis.remap("SS", [row, c])
        T.reads(x[vr, vc])
        T.writes(out[vr, at + vc])
        T.buffer_store(out, x[vr, vc], [vr, at + vc])
