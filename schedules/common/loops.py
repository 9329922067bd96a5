"""Loops of a schedule by name: a loop is called after the axis of the TE computation that it goes along.

TVM counts loops from the outside and renames those of a block that it moves (`ax0`, `ax1`), so neither a place nor a
loop's own name says what it runs over. What lasts are the block's axes, named in the computation (the parameters of
the function given to `te.compute`, or `varargs_names`; `te.reduce_axis((0, 3), "kh")`), and the loops of each.

Move blocks with `preserve_unit_loops=True`: without it, no loop goes along an axis of a single iteration.
"""

from types import SimpleNamespace

import tvm_ffi
from tvm import s_tir
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx.analysis import undefined_vars


def loops(sch: s_tir.Schedule, block: SBlockRV | str) -> SimpleNamespace:
    """The innermost loop along each axis of a block (or of the one of that name): `loops(sch, "acc").kh`."""
    return SimpleNamespace(**{axis: nest[-1] for axis, nest in _by_axis(sch, block).items() if nest})


def along(sch: s_tir.Schedule, block: SBlockRV | str, axis: str) -> list[LoopRV]:
    """All loops along an axis, outermost first: several once it is split. Fused loops are along each of their axes."""
    return _by_axis(sch, block)[axis]


def _by_axis(sch: s_tir.Schedule, block: SBlockRV | str) -> dict[str, list[LoopRV]]:
    if isinstance(block, str):
        block = sch.get_sblock(block)
    nest = [(loop, sch.get(loop).loop_var) for loop in sch.get_loops(block)]
    realize = tvm_ffi.get_global_func("s_tir.schedule.GetSBlockRealize")(sch, block)
    found = {}
    for axis, place in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        used = undefined_vars(place)
        found[axis.var.name.removeprefix("v_")] = [
            loop for loop, variable in nest if any(variable.same_as(one) for one in used)
        ]
    return found
