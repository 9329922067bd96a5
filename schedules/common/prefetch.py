"""Fetching what a kernel's inner loop will read from a farther cache or the memory."""

import math
from collections.abc import Iterator, Sequence

import tvm
from tvm import s_tir, tirx
from tvm.ir import Expr
from tvm.s_tir.schedule import LoopRV

from .statements import load_of, parts, rebuilt, uses, without

_PREFETCH, _STREAM, _PASS = "eq_tvm.prefetch", "eq_tvm.stream", "eq_tvm.pass"
_LINE, _AHEAD = 64, 4096  # bytes of a cache line, and how far ahead: what is read while the next cache answers
_FIRST, _SECOND = 3, 2  # the caches, in LLVM's words


def prefetch(sch: s_tir.Schedule, loop: LoopRV, passes: Sequence[LoopRV], beyond_l1: bool, stream: str = "") -> None:
    """Let each iteration of a reduction fetch a share of the `weights` that are read later.

    Weights are cold: the network's other layers have driven them out of the near caches since the last run. A block of
    them is read again in each pass, and all passes together fetch the next block into the second cache, evenly: the
    memory is slower than the first pass, faster than all.

    Parameters
    ----------
    sch : tvm.s_tir.Schedule
    loop : tvm.s_tir.schedule.LoopRV
        The reduction, whose iterations go along an axis of the buffer "weights", (group, block, ...).
    passes : sequence of tvm.s_tir.schedule.LoopRV
        Loops around it that read the same block of weights, weights[group, block], in each iteration.
    beyond_l1 : bool
        A block does not stay in the first cache: what is read some iterations later is fetched into that, too, as what
        a processor fetches by itself ends with each page.
    stream : str
        Name of a buffer, (..., row, element), of which each pass reads the rows that follow those of the pass before:
        they are fetched, too. A processor does not recognize several neighbouring rows as streams.
    """
    sch.annotate(loop, _PREFETCH, int(beyond_l1))
    sch.annotate(loop, _STREAM, stream)
    for outer in passes:
        sch.annotate(outer, _PASS, 1)


def fetching(stmt: tirx.Stmt, passes: tuple[tirx.For, ...] = ()) -> tirx.Stmt:
    """A statement whose loops, marked by `prefetch`, fetch; `passes` are the marked ones around it."""

    def change(part: tirx.Stmt) -> tirx.Stmt:
        if not isinstance(part, tirx.For):
            return part
        marks = {key: value for key, value in part.annotations.items() if key not in (_PASS, _PREFETCH, _STREAM)}
        body = part.body
        if _PASS in part.annotations:
            body = fetching(body, (*passes, part))
        elif _PREFETCH in part.annotations:
            fetches = list(_fetches(part, passes))
            body = tirx.SeqStmt([*fetches, body]) if fetches else body
        return tirx.For(part.loop_var, part.min, part.extent, part.kind, body, part.thread_binding, marks)

    return rebuilt(stmt, change, lambda part: isinstance(part, tirx.For) and _PASS in part.annotations)


def _fetches(loop: tirx.For, passes: Sequence[tirx.For]) -> Iterator[tirx.Stmt]:
    """What an iteration of a marked loop fetches."""
    weights, place = _first_load("weights", loop)
    axis = next((i for i, index in enumerate(place) if uses(index, loop.loop_var)), None)
    if axis is None:  # a loop of one iteration
        return
    many = math.prod(int(outer.extent) for outer in passes)
    steps = int(weights.shape[axis]) // int(loop.extent)  # in an iteration
    if many > 1 and math.prod(map(int, weights.shape[:2])) > 1:
        yield from _share_of_next_block(weights, place[: axis + 1], steps, passes)
    if many > 1 and loop.annotations[_STREAM]:
        yield _next_rows(loop, many)
    if many == 1 or loop.annotations[_PREFETCH]:
        yield from _steps_ahead(weights, place[: axis + 1], steps)


def _share_of_next_block(
    weights: tirx.Buffer, place: list[Expr], steps: int, passes: Sequence[tirx.For]
) -> Iterator[tirx.Stmt]:
    """An equal share of the next block of weights, where `place` is read: (group, block, ..., step)."""
    many, step = math.prod(int(outer.extent) for outer in passes), _row_size(weights, place)
    groups, blocks = (int(extent) for extent in weights.shape[:2])
    block = (place[0] * blocks + place[1] + 1) % (groups * blocks)  # the first, too, is often needed next
    share, number = -(-step // many), 0  # of a step, of a pass and of a step in all passes
    counted = [(outer.loop_var, outer.extent) for outer in passes]
    for index, extent in counted + list(zip(place[2:], weights.shape[2 : len(place)], strict=True)):
        number = number * extent + index
    for at in range(0, steps * share, _LINE // _itemsize(weights)):
        yield _fetch(weights, [block // blocks, block % blocks], number * share + at, _SECOND)


def _next_rows(loop: tirx.For, many: int) -> tirx.Stmt:
    """A share of the rows that the next of `many` passes reads, of the buffer that `loop` streams."""
    rows, place = _first_load(loop.annotations[_STREAM], loop)
    count = int(rows.shape[-2]) // many  # of a pass, whose loop is the innermost
    share = count * int(rows.shape[-1]) // int(loop.extent)
    return _fetch(rows, [*place[:-2], place[-2] + count], loop.loop_var * share, _SECOND)


def _steps_ahead(weights: tirx.Buffer, place: list[Expr], steps: int) -> Iterator[tirx.Stmt]:
    """What an iteration of `steps` steps reads that comes `_AHEAD` bytes later than the one that reads `place`."""
    step, itemsize = _row_size(weights, place), _itemsize(weights)
    ahead = [*place[:-1], place[-1] + max(1, _AHEAD // (step * itemsize))]
    for at in range(0, steps * step, _LINE // itemsize):
        yield _fetch(weights, ahead, at, _FIRST)


def _row_size(buffer: tirx.Buffer, place: list[Expr]) -> int:
    """Elements of buffer[place]."""
    return math.prod(int(extent) for extent in buffer.shape[len(place) :])


def _itemsize(buffer: tirx.Buffer) -> int:
    return int(tvm.DataType(str(buffer.dtype)).bits) // 8


def _first_load(name: str, loop: tirx.For) -> tuple[tirx.Buffer, list[Expr]]:
    """The buffer called `name`, and where the loop's iteration begins to read it."""
    values = (store.value for store in parts(loop.body, tirx.BufferStore))
    load = next(load for value in values if (load := load_of(name, value)) is not None)
    indices = list(load.indices)
    for inner in parts(loop.body, tirx.For):
        indices = [without(index, inner.loop_var) for index in indices]
    return load.source, indices


def _fetch(buffer: tirx.Buffer, place: list[Expr], element: Expr, cache: int) -> tirx.Stmt:
    """Fetch what is that many elements behind the beginning of buffer[place]."""
    place = [*place, *(0 for _ in buffer.shape[len(place) + 1 :]), element]
    address = tirx.address_of(tirx.BufferLoad(buffer, place))
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, cache, 1))
