"""Elements that are looked up in a table: one by one, or by permutations of a table in registers."""

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, Var
from tvm.ir.expr import TensorLoad
from tvm.tirx.analysis import undefined_vars

from ..common.lowered import on_stack
from ..common.vectors import get, local, put, seq
from ..processor.intrinsics import llvm
from .one_loop import INDEX, loop_over, one, substituted, vector

TOGETHER = 8  # elements that are looked up, written out
WORDS = 32  # of 16 bits, in a vector of 512; an instruction permutes two
MOST_WORDS = 256


def looked_up(loop: tirx.For, lanes: int) -> tirx.Stmt | None:
    """A loop whose every element says where another one is loaded from; None where that is not so.

    A table of uint16, a multiple of `WORDS` and at most `MOST_WORDS`, is permuted where vectors have 512 bits.
    """
    store = loop.body
    tables = [load for load in _loads(store.value) if _varies(load, loop.loop_var)]
    if not tables:
        return None
    load = tables[0]
    length = int(load.source.shape[0])
    words = str(load.source.dtype) == "uint16" and length % WORDS == 0 and length <= MOST_WORDS
    return _permuted(loop, load) if words and lanes == 16 and load.same_as(store.value) else _one_by_one(loop)


def _varies(load: TensorLoad, variable: Var) -> bool:
    """Whether what is loaded elsewhere says from where."""
    inside = [inner for index in load.indices for inner in _loads(index)]
    return any(variable in undefined_vars(inner) for inner in inside)


def _loads(value: Expr) -> list[TensorLoad]:
    found: list[TensorLoad] = []

    def note(load: TensorLoad) -> TensorLoad:
        found.append(load)
        return load

    tvm_ffi.structural_map(value, [(TensorLoad, note)], order="post")
    return found


def _permuted(loop: tirx.For, load: TensorLoad) -> tirx.Stmt:
    """Vectors of elements, of which the last one may be short."""
    extent, store = int(loop.extent), loop.body
    places, found = local((WORDS,), "int16", "places"), local((WORDS,), "int16", "found")

    def some(first: Expr, count: int) -> tirx.Stmt:
        def place(lane: Expr) -> tirx.Stmt:
            at = substituted(load.indices[0], loop.loop_var, first + lane)
            return tirx.BufferStore(places, at.astype("int16"), [lane])

        def stored(lane: Expr) -> tirx.Stmt:
            indices = [substituted(index, loop.loop_var, first + lane) for index in store.indices]
            return tirx.BufferStore(store.buffer, tirx.reinterpret("uint16", found[lane]), indices)

        return seq(
            [vector(count, place), put(found, [], _permute(load.source, get(places, []))), vector(count, stored)]
        )

    whole, rest = divmod(extent, WORDS)
    strips = [loop_over("strip", whole, lambda strip: some(strip * WORDS, WORDS))] if whole else []
    if rest:
        strips.append(some(tirx.const(extent - rest, INDEX), rest))
    return seq([on_stack(places), on_stack(found), *strips])


def _permute(table: tirx.Buffer, places: Expr) -> Expr:
    """The entries of a table at `places`, as int16: an instruction looks at six bits of each, the rest chooses."""
    vectors = [
        tirx.reinterpret(f"int16x{WORDS}", table.vload([first], f"uint16x{WORDS}"))
        for first in range(0, int(table.shape[0]), WORDS)
    ]
    pairs = [(vectors[i], vectors[min(i + 1, len(vectors) - 1)]) for i in range(0, len(vectors), 2)]
    answers = [llvm("llvm.x86.avx512.vpermi2var.hi.512", f"int16x{WORDS}", a, places, b) for a, b in pairs]
    bit = 2 * WORDS
    while len(answers) > 1:
        high = (places & tirx.Broadcast(tirx.const(bit, "int16"), WORDS)) != tirx.Broadcast(
            tirx.const(0, "int16"), WORDS
        )
        answers = [
            tirx.Select(high, answers[i + 1], answers[i]) if i + 1 < len(answers) else answers[i]
            for i in range(0, len(answers), 2)
        ]
        bit *= 2
    return answers[0]


def _one_by_one(loop: tirx.For) -> tirx.Stmt:
    """Each element by itself, some written out: in vectors, places would be taken out and what is there put in."""
    extent = int(loop.extent)
    whole = extent // TOGETHER * TOGETHER

    def some(first: Expr, count: int) -> tirx.Stmt:
        return seq([one(loop, first + i) for i in range(count)])

    strips = [loop_over("strip", whole // TOGETHER, lambda strip: some(strip * TOGETHER, TOGETHER))] if whole else []
    return seq([*strips, *([some(tirx.const(whole, INDEX), extent - whole)] if whole < extent else [])])
