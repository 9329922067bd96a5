"""The steps of the depthwise kernel on bytes, without loops: interleave a column, compute a window's results."""

from dataclasses import dataclass
from typing import NamedTuple

from tvm import tirx
from tvm.ir import Expr

from ..common.epilogue import Output, rint
from ..common.vectors import get, pack, put, seq, unpack
from ..processor.intrinsics import llvm
from .depthwise_columns_plan import GROUP, ColumnsPlan, Segment


@dataclass(frozen=True)
class Kernel:
    """The context of the whole nest: what is computed, arguments, and buffers on the stack.

    Parameters
    ----------
    plan : ColumnsPlan
    dtype : str
        Of the activations.
    zero, added : int
        As what 0 is stored, and what stored bytes get added.
    output : Output
    small : bool
        See `is_small`.
    x, weights, constants, limits, out : tvm.tirx.Buffer
        The arguments.
    columns : tvm.tirx.Buffer
        int32 (slot, group and vector; lane): interleaved columns.
    raw : tvm.tirx.Buffer
        uint8 (input row, byte): a column before it is interleaved.
    kept : tvm.tirx.Buffer
        int32 (3, vector, lane): a block's constants.
    bounds : tvm.tirx.Buffer
        (2, byte) of the result's dtype: the limits.
    sums : tvm.tirx.Buffer
        int32 (window and parity of the vector; lane): accumulators.
    halves : tvm.tirx.Buffer
        int16 (window and half; element): results before they are packed to bytes.
    packed : tvm.tirx.Buffer
        (byte,) of the result's dtype: results.
    """

    plan: ColumnsPlan
    dtype: str
    zero: int
    added: int
    output: Output
    small: bool
    x: tirx.Buffer
    weights: tirx.Buffer
    constants: tirx.Buffer
    limits: tirx.Buffer
    out: tirx.Buffer
    columns: tirx.Buffer
    raw: tirx.Buffer
    kept: tirx.Buffer
    bounds: tirx.Buffer
    sums: tirx.Buffer
    halves: tirx.Buffer
    packed: tirx.Buffer


@dataclass(frozen=True)
class Place:
    """Which results are computed, and with what.

    Parameters
    ----------
    kernel : Kernel
    segment : Segment
    block : tvm.ir.Expr
        Which of the segment's.
    n, h : tvm.ir.Expr
        Image, and the first row of the result.
    rows : int
        How many rows.
    span : int
        Pixels of a stretch, of which the row has one for each piece of a vector.
    starts : tuple of int
        The first pixel of each.
    weights : tvm.tirx.Buffer
        The block's: row of the task, column, group, vector, lane, tap.
    constants : tvm.tirx.Buffer
        The block's: which, vector, lane.
    """

    kernel: Kernel
    segment: Segment
    block: Expr
    n: Expr
    h: Expr
    rows: int
    span: int
    starts: tuple[int, ...]
    weights: tirx.Buffer
    constants: tirx.Buffer

    @property
    def in_rows(self) -> int:
        """Rows of the input that the results need."""
        return self.kernel.plan.reach(self.rows)

    @property
    def first_channel(self) -> Expr:
        """The block's first channel."""
        return self.segment.first + self.block * self.segment.width


class Window(NamedTuple):
    """The result in row r of the task at pixel w of each stretch; `slot` is where its first column stands."""

    r: int
    w: Expr
    slot: Expr


def interleave(place: Place, column: Expr, slot: Expr, interior: bool) -> list[tirx.Stmt]:
    """Make column `column` (of the padded input, in each stretch) the one in `slot`.

    `interior` says that no row that the task reads is padding.
    """
    stmts = [_load(place, piece, column, interior) for piece in range(place.segment.pieces)]
    for g in range(place.kernel.plan.groups):
        stmts += _interleave_group(place, slot, g)
    return stmts


def _load(place: Place, piece: int, column: Expr, interior: bool) -> tirx.Stmt:
    """The bytes of a column in one of the stretches, or padding: a piece of each row of `raw`."""
    conv, channels = place.kernel.plan.conv, place.segment.width
    at = tirx.Ramp(piece * channels, 1, channels)
    col = column + place.starts[piece] * conv.strides[1] - conv.padding[1]

    def stored(values: list[Expr]) -> tirx.Stmt:
        return seq([tirx.BufferStore(place.kernel.raw, value, [t, at]) for t, value in enumerate(values)])

    return tirx.IfThenElse(
        tirx.all(col >= 0, col < conv.width),
        stored([_bytes(place, t, col, interior) for t in range(place.in_rows)]),
        stored([_fill(place)] * place.in_rows),
    )


def _fill(place: Place) -> Expr:
    return _byte(place, place.kernel.zero + place.kernel.added)


def _byte(place: Place, value: int) -> Expr:
    return tirx.Broadcast(tirx.const(value % 256, "uint8"), place.segment.width)


def _bytes(place: Place, t: int, col: Expr, interior: bool) -> Expr:
    """The block's channels in row t of those that the task reads, as bytes that can be multiplied."""
    kernel, channels = place.kernel, place.segment.width
    conv, fill = kernel.plan.conv, _fill(place)
    row = place.h * conv.strides[0] + t - conv.padding[0]
    value = kernel.x.vload([place.n, row, col, place.first_channel], f"{kernel.dtype}x{channels}")
    if kernel.dtype == "int8":
        value = tirx.reinterpret(f"uint8x{channels}", value)
    if kernel.added:
        value = value + _byte(place, kernel.added)
    return value if interior else tirx.if_then_else(tirx.all(row >= 0, row < conv.height), value, fill)


def _interleave_group(place: Place, slot: Expr, g: int) -> list[tirx.Stmt]:
    """Four rows of bytes as four vectors of dwords."""
    kernel, width = place.kernel, place.kernel.plan.dot.width
    # any row where there is no more: its weights are 0
    a, b, c, d = (get(kernel.raw, [(GROUP * g + k) % place.in_rows]) for k in range(GROUP))
    stmts = []
    for half in range(2):
        ab, cd = (tirx.reinterpret(f"int16x{width // 2}", unpack(*pair, half, width, 1)) for pair in ((a, b), (c, d)))
        for quarter in range(2):
            dwords = tirx.reinterpret(f"int32x{width // 4}", unpack(ab, cd, quarter, width, 2))
            stmts.append(put(kernel.columns, [_column_row(kernel, slot, g, 2 * half) + quarter], dwords))
    return stmts


def _column_row(kernel: Kernel, slot: Expr, g: int, j: int) -> Expr:
    """Where vector j of group g of the column in a slot stands in `columns`."""
    return (slot * kernel.plan.groups + g) * 4 + j


def results(place: Place, windows: list[tuple[Expr, Expr]]) -> list[tirx.Stmt]:
    """The results of all rows for windows, (pixel of each stretch, slot of the first column)."""
    many = [Window(r, w, slot) for r in range(place.rows) for w, slot in windows]
    if place.kernel.plan.many_registers or not place.kernel.plan.sliding:
        return _together(place, many)
    return [stmt for one in many for stmt in _together(place, [one])]  # with 16 registers


def _together(place: Place, windows: list[Window]) -> list[tirx.Stmt]:
    """The results of several windows, added up in turn: each sum waits for its last addition."""
    kernel, stmts = place.kernel, []
    for j in range(4):
        stmts += _accumulate(place, windows, j)
        if j % 2:
            for i in range(len(windows)):
                low, high = (_requantized(place, get(kernel.sums, [2 * i + k]), j - 1 + k) for k in range(2))
                half = pack("packssdw", low, high, kernel.plan.dot.width, 2)
                stmts.append(put(kernel.halves, [2 * i + j // 2], half))
    for i, window in enumerate(windows):
        low, high = (get(kernel.halves, [2 * i + half]) for half in range(2))
        stmts += _store(place, window, low, high)
    return stmts


def _accumulate(place: Place, windows: list[Window], j: int) -> list[tirx.Stmt]:
    """Vector j of the accumulators of all windows, in every other row of `sums`."""
    sums = place.kernel.sums
    at = [[2 * i + j % 2] for i in range(len(windows))]
    stmts = [put(sums, row, get(place.constants, [0, j])) for row in at]
    uses = [_uses(place, window, j) for window in windows]
    for step in range(max(map(len, uses))):
        for row, own in zip(at, uses, strict=True):
            stmts += [put(sums, row, _dot(place.kernel.plan, get(sums, row), terms)) for terms in own[step : step + 1]]
    return stmts


def _uses(place: Place, window: Window, j: int) -> list[list[tuple[Expr, Expr]]]:
    """Columns and weights of vector j of a window's results, those that one `_dot` adds up together."""
    kernel, plan = place.kernel, place.kernel.plan
    terms = [
        (
            get(kernel.columns, [_column_row(kernel, window.slot + dx, g, j)]),
            place.weights.vload([window.r, dx, g, j, 0, 0], f"int8x{plan.dot.width}"),
        )
        for dx in range(plan.conv.kernel[1])
        for g in plan.groups_of(window.r)
    ]
    size = max(plan.dot.chain, 1)
    return [terms[i : i + size] for i in range(0, len(terms), size)]


def _dot(plan: ColumnsPlan, acc: Expr, terms: list[tuple[Expr, Expr]]) -> Expr:
    """`acc` + the sum of four products in each dword of the terms."""
    width, dwords = plan.dot.width, f"int32x{plan.lanes}"
    columns = [tirx.reinterpret(f"int8x{width}", column) for column, _ in terms]
    weights = [weight for _, weight in terms]
    if plan.dot.signed:
        return llvm("llvm.aarch64.neon.sdot.v4i32.v16i8", dwords, acc, *columns, *weights)
    if not plan.dot.chain:
        return llvm(f"llvm.x86.avx512.vpdpbusd.{width * 8}", dwords, acc, *columns, *weights)
    pairs = f"int16x{width // 2}"
    products = [llvm("llvm.x86.avx2.pmadd.ub.sw", pairs, *both) for both in zip(columns, weights, strict=True)]
    ones = tirx.Broadcast(tirx.const(1, "int16"), width // 2)
    return acc + llvm("llvm.x86.avx2.pmadd.wd", dwords, sum(products[1:], products[0]), ones)


def _requantized(place: Place, acc: Expr, j: int) -> Expr:
    """int32: vector j of the results, before they are clipped."""
    lanes = place.kernel.plan.lanes
    real = f"float32x{lanes}"
    multiplier, shift = (tirx.reinterpret(real, get(place.constants, [i, j])) for i in (1, 2))
    if place.kernel.plan.dot.signed:
        return llvm("llvm.aarch64.neon.fcvtns.v4i32.v4f32", "int32x4", acc.astype(real) * multiplier)
    if not place.kernel.small:
        return rint(acc.astype(real) * multiplier, lanes)
    # acc - 2^23 (exact for acc >= 0, and negative below) times the multiplier, rounded once
    scaled = tirx.call_llvm_pure_intrin(real, "llvm.fma", tirx.reinterpret(real, acc), multiplier, shift)
    return rint(scaled, lanes)


def _store(place: Place, window: Window, low: Expr, high: Expr) -> list[tirx.Stmt]:
    """Pack, clip and store the results of one window, of which `low` and `high` are int16 vectors."""
    kernel, segment, width = place.kernel, place.segment, place.kernel.plan.dot.width
    dtype = kernel.output.dtype
    value = pack("packsswb" if dtype == "int8" else "packuswb", low, high, width, 1)
    value = tirx.reinterpret(f"{dtype}x{width}", value)
    value = tirx.min(tirx.max(value, get(kernel.bounds, [0])), get(kernel.bounds, [1]))
    stmts, whole = [put(kernel.packed, [], value)], get(kernel.packed, [])
    channels = tirx.Ramp(place.first_channel, 1, segment.width)
    for q, start in enumerate(place.starts):
        lanes = range(q * segment.width, (q + 1) * segment.width)
        piece = whole if segment.pieces == 1 else tirx.Shuffle([whole], list(lanes))
        stmts.append(tirx.BufferStore(kernel.out, piece, [place.n, place.h + window.r, window.w + start, channels]))
    return stmts
