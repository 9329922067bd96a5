"""Fetching what a kernel's inner loop will read from a farther cache or the memory."""

import math

import tvm
from tvm import tirx

from .statements import load_of, parts, rebuilt, uses, without

_PREFETCH, _STREAM, _PASS = "eq_tvm.prefetch", "eq_tvm.stream", "eq_tvm.pass"
_LINE, _AHEAD = 64, 4096  # bytes of a cache line, and how far ahead: what is read while the next cache answers


def prefetch(sch, loop, passes, far, stream=""):
    """Let each iteration of the reduction `loop` fetch a share of the `weights` that are read later.

    Weights are cold: the network's other layers have driven them out of the near caches since the last run. A block of
    them, weights[:, 1], is read again in each iteration of the loops `passes`, and all of these together fetch the next
    block into the second cache, evenly: the memory is slower than the first pass, faster than all. `far` says that a
    block does not stay in the first cache; then what is read some iterations later is fetched into that, too, as what
    a processor fetches by itself ends with each page.

    `stream` names a buffer, [..., element], of which each pass reads the rows that follow those of the pass before:
    they are fetched, too. A processor does not recognize several neighbouring rows as streams.
    """
    sch.annotate(loop, _PREFETCH, int(far))
    sch.annotate(loop, _STREAM, stream)
    for outer in passes:
        sch.annotate(outer, _PASS, 1)


def fetching(stmt, passes=()):
    """A statement whose loops, marked by `prefetch`, fetch; `passes` are the marked ones around it."""

    def change(part):
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


def _fetches(loop, passes):
    weights, indices = _first_load("weights", loop)
    axis = next((i for i, index in enumerate(indices) if uses(index, loop.loop_var)), None)
    if axis is None:  # a loop of one iteration
        return
    itemsize = tvm.DataType(str(weights.dtype)).bits // 8
    step, line = math.prod(int(extent) for extent in weights.shape[axis + 1 :]), _LINE // itemsize
    steps = int(weights.shape[axis]) // int(loop.extent)  # in an iteration
    many = math.prod(int(outer.extent) for outer in passes)
    groups, blocks = (int(extent) for extent in weights.shape[:2])
    if many > 1 and groups * blocks > 1:
        block = (indices[0] * blocks + indices[1] + 1) % (groups * blocks)  # the first, too, is often needed next
        share, number = -(-step // many), 0  # of a step, of a pass and of a step in all passes
        counted = [(outer.loop_var, outer.extent) for outer in passes]
        for index, extent in counted + list(zip(indices[2 : axis + 1], weights.shape[2 : axis + 1], strict=True)):
            number = number * extent + index
        for at in range(0, steps * share, line):
            yield _fetch(weights, [block // blocks, block % blocks], number * share + at, locality=2)
    if many > 1 and loop.annotations[_STREAM]:
        rows, place = _first_load(loop.annotations[_STREAM], loop)
        count = int(rows.shape[-2]) // many  # of a pass, whose loop is the innermost
        share = count * int(rows.shape[-1]) // int(loop.extent)
        yield _fetch(rows, [*place[:-2], place[-2] + count], loop.loop_var * share, locality=2)
    if many == 1 or loop.annotations[_PREFETCH]:
        indices[axis] += max(1, _AHEAD // (step * itemsize))
        for at in range(0, steps * step, line):
            yield _fetch(weights, indices[: axis + 1], at, locality=3)


def _first_load(name, loop):
    """The buffer called `name`, and where the loop's iteration begins to read it."""
    values = (store.value for store in parts(loop.body, tirx.BufferStore))
    load = next(load for value in values if (load := load_of(name, value)) is not None)
    indices = list(load.indices)
    for inner in parts(loop.body, tirx.For):
        indices = [without(index, inner.loop_var) for index in indices]
    return load.source, indices


def _fetch(weights, place, element, locality):
    """Fetch what is that many elements behind the beginning of weights[place]."""
    place = [*place, *(0 for _ in weights.shape[len(place) + 1 :]), element]
    address = tirx.address_of(tirx.BufferLoad(weights, place))
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, locality, 1))
