"""A schedule for reductions and what is computed from them: softmax, normalizations, means.

All that belongs to one row of the result is computed before the next row, in buffers that stay in the first cache. A
row is what the reductions' results are the same for: of a softmax over the last axis that axis, of an instance
normalization the pixels of a channel. Where neighbours in memory belong to different rows, many rows are computed side
by side.
"""

from collections.abc import Collection

from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import IterVar
from tvm.tirx.analysis import undefined_vars

from ..common.loops import along
from ..common.lowered import lowered
from ..common.sizes import PARALLEL_FROM, largest_divisor
from ..common.statements import loads
from .strips import in_vectors

SIDE_BY_SIDE = 512  # rows at most


def by_rows(sch: s_tir.Schedule, lanes: int) -> tirx.PrimFunc | None:
    """Schedule a function that reduces, row by row.

    Parameters
    ----------
    sch : tvm.s_tir.Schedule
        Of a function each of whose blocks stands in loops of its own, one for each axis.
    lanes : int
        Elements of a vector.

    Returns
    -------
    tvm.tirx.PrimFunc or None
        None where no block reduces, or one makes several results, or multiplies matrices; nothing has changed then.

    Raises
    ------
    tvm.s_tir.ScheduleError
        Where the axes of the blocks do not fit together.
    """
    *before, last = blocks = sch.get_child_blocks(sch.get_sblock("root"))
    reductions = [block for block in blocks if _axes(sch, block, IterVar.CommReduce)]
    if not reductions or not all(_is_plain(sch, block) for block in blocks):
        return None
    neighbours = set().union(*(_neighbours(sch, block) for block in reductions))
    if neighbours not in ({"along"}, {"across"}):
        return None
    across = neighbours == {"across"}
    work = sum(_size(sch, sch.get_loops(block)) for block in blocks)
    rows = _row_axes(sch, last, {sch.get(block).body.buffer for block in before})
    outer = [loop for name in rows for loop in along(sch, last, name)]
    inner = [loop for name in _axes(sch, last, IterVar.DataPar) if name not in rows for loop in along(sch, last, name)]
    reduced = [loop for name in _axes(sch, last, IterVar.CommReduce) for loop in along(sch, last, name)]
    if outer and across:
        tile = largest_divisor(_size(sch, outer[-1:]), SIDE_BY_SIDE)
        whole, tile = sch.split(outer[-1], [None, tile])
        outer, inner = [*outer[:-1], whole], [*inner, tile]
    sch.reorder(*outer, *reduced, *inner)
    row = sch.fuse(*outer) if outer else sch.add_unit_loop((reduced + inner)[0])
    for block in reversed(before):
        sch.compute_at(block, row)
        sch.set_scope(block, 0, "local")
    if work >= PARALLEL_FROM:
        sch.parallel(row)
    for block in blocks:
        _join_loops(sch, block, row, not across)
    func = lowered(next(iter(sch.mod.functions.values())), aligned=False)
    return func.with_body(in_vectors(func.body, lanes))


def _axes(sch: s_tir.Schedule, block: SBlockRV, kind: int) -> list[str]:
    """Names of a block's axes of a kind."""
    return [axis.var.name.removeprefix("v_") for axis in sch.get(block).iter_vars if axis.iter_type == kind]


def _is_plain(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether a block makes one tensor, and each of its axes has a name and a loop of its own."""
    stmt = sch.get(block)
    names = {axis.var.name for axis in stmt.iter_vars}
    return (
        isinstance(stmt.body, tirx.BufferStore)
        and len(names) == len(stmt.iter_vars) == len(sch.get_loops(block))
        and all(axis.iter_type in (IterVar.DataPar, IterVar.CommReduce) for axis in stmt.iter_vars)
    )


def _row_axes(sch: s_tir.Schedule, last: SBlockRV, made: Collection[tirx.Buffer]) -> list[str]:
    """The axes of the last block that all that it reads of the other blocks' results depends on."""
    rows = _axes(sch, last, IterVar.DataPar)
    for load in loads(sch.get(last).body):
        if any(load.source.same_as(buffer) for buffer in made):
            used = {var.name.removeprefix("v_") for index in load.indices for var in undefined_vars(index)}
            rows = [name for name in rows if name in used]
    return rows


def _neighbours(sch: s_tir.Schedule, block: SBlockRV) -> set[str]:
    """What a reduction makes of neighbours in memory: one result ("along"), several ("across"), or a mixture.

    A product of matrices has both, and a window is a mixture.
    """
    reduced, found = set(_axes(sch, block, IterVar.CommReduce)), set()
    for load in loads(sch.get(block).body):
        indices = [{var.name.removeprefix("v_") for var in undefined_vars(index)} for index in load.indices]
        if not any(used & reduced for used in indices):
            continue  # the result itself, or one number for all that is reduced
        last = [used for used in indices if used][-1]
        found.add("along" if last <= reduced else "mixed" if last & reduced else "across")
    return found


def _join_loops(sch: s_tir.Schedule, block: SBlockRV, row: LoopRV, joined: bool) -> None:
    """Within a row: loops over what a block reduces around those over its elements, each `joined` to one."""
    nest = [sch.get(loop) for loop in sch.get_loops(block)]
    inside = nest[nest.index(sch.get(row)) + 1 :]

    def over(kind: int) -> list[LoopRV]:
        mine = [sch.get(loop) for name in _axes(sch, block, kind) for loop in along(sch, block, name)]
        return [loop for loop in sch.get_loops(block) if sch.get(loop) in inside and sch.get(loop) in mine]

    reduced, elements = over(IterVar.CommReduce), over(IterVar.DataPar)
    sch.reorder(*reduced, *elements)
    if joined and elements:
        sch.fuse(*elements)
    if reduced:
        reduced = [sch.fuse(*reduced)] if joined else reduced
        sch.decompose_reduction(block, reduced[0])


def _size(sch: s_tir.Schedule, loops: list[LoopRV]) -> int:
    size = 1
    for loop in loops:
        size *= int(sch.get(loop).extent)
    return size
