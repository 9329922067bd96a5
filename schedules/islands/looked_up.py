"""Elements that are looked up in tables: one by one, or by permutations of tables in registers."""

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, Var
from tvm.ir.expr import TensorLoad
from tvm.tirx.analysis import undefined_vars

from ..common.lowered import on_stack
from ..common.statements import loads, with_body
from ..common.vectors import get, local, put, seq
from ..processor.intrinsics import llvm
from .one_loop import INDEX, loop_over, one, substituted, vector

TOGETHER = 8  # elements that are looked up, written out
FLOATS = 16  # in a register of 512 bits; an instruction permutes those of two
MOST_FLOATS = 64


def looked_up(loop: tirx.For, lanes: int) -> tirx.Stmt | None:
    """A loop whose every element says where others are loaded from; None where that is not so.

    Tables of float32, a multiple of `FLOATS` and at most `MOST_FLOATS` long, are permuted where vectors have 512 bits.
    """
    tables = [load for load in loads(loop.body.value) if _varies(load, loop.loop_var)]
    if not tables:
        return None
    return _permuted(loop, tables) if lanes == FLOATS and all(map(_is_short, tables)) else _one_by_one(loop)


def _varies(load: TensorLoad, variable: Var) -> bool:
    """Whether what is loaded elsewhere says from where."""
    inside = [inner for index in load.indices for inner in loads(index)]
    return any(variable in undefined_vars(inner) for inner in inside)


def _is_short(load: TensorLoad) -> bool:
    length = int(load.source.shape[0])
    floats = str(load.source.dtype) == "float32" and len(load.source.shape) == 1
    return floats and length % FLOATS == 0 and length <= MOST_FLOATS


def _permuted(loop: tirx.For, tables: list[TensorLoad]) -> tirx.Stmt:
    """Vectors of elements, of which the last one may be short."""
    extent = int(loop.extent)
    places = [local((FLOATS,), "int32", f"places{i}") for i in range(len(tables))]
    found = [local((FLOATS,), "float32", f"found{i}") for i in range(len(tables))]

    def some(first: Expr, count: int) -> tirx.Stmt:
        def placed(lane: Expr) -> tirx.Stmt:
            at = [substituted(load.indices[0], loop.loop_var, first + lane) for load in tables]
            stores = zip(places, at, strict=True)
            return seq([tirx.BufferStore(buffer, index.astype("int32"), [lane]) for buffer, index in stores])

        def stored(lane: Expr) -> tirx.Stmt:
            def change(load: TensorLoad) -> Expr:
                for table, answer in zip(tables, found, strict=True):
                    if tvm_ffi.structural_equal(load, table):
                        return answer[lane]
                return load

            body = tvm_ffi.structural_map(loop.body, [(TensorLoad, change)], order="post")
            return one(with_body(loop, body), first + lane)

        looked = [
            put(answer, [], _permute(load.source, get(buffer, [])))
            for load, buffer, answer in zip(tables, places, found, strict=True)
        ]
        return seq([vector(count, placed), *looked, vector(count, stored)])

    whole, rest = divmod(extent, FLOATS)
    strips = [loop_over("strip", whole, lambda strip: some(strip * FLOATS, FLOATS))] if whole else []
    if rest:
        strips.append(some(tirx.const(extent - rest, INDEX), rest))
    return seq([*map(on_stack, places + found), *strips])


def _permute(table: tirx.Buffer, places: Expr) -> Expr:
    """The entries of a table at `places`: an instruction looks at five bits of each, the rest chooses."""
    registers = [table.vload([first], f"float32x{FLOATS}") for first in range(0, int(table.shape[0]), FLOATS)]
    pairs = [(registers[i], registers[min(i + 1, len(registers) - 1)]) for i in range(0, len(registers), 2)]
    answers = [llvm("llvm.x86.avx512.vpermi2var.ps.512", f"float32x{FLOATS}", a, places, b) for a, b in pairs]
    if len(answers) == 1:
        return answers[0]
    bit, zero = (tirx.Broadcast(tirx.const(value, "int32"), FLOATS) for value in (2 * FLOATS, 0))
    return tirx.Select((places & bit) != zero, answers[1], answers[0])


def _one_by_one(loop: tirx.For) -> tirx.Stmt:
    """Each element by itself, some written out: in vectors, places would be taken out and what is there put in."""
    extent = int(loop.extent)
    whole = extent // TOGETHER * TOGETHER

    def some(first: Expr, count: int) -> tirx.Stmt:
        return seq([one(loop, first + i) for i in range(count)])

    strips = [loop_over("strip", whole // TOGETHER, lambda strip: some(strip * TOGETHER, TOGETHER))] if whole else []
    return seq([*strips, *([some(tirx.const(whole, INDEX), extent - whole)] if whole < extent else [])])
