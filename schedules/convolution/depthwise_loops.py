"""The loops of the depthwise kernel on bytes, written as TIR: TE is about elements, this about whole vectors."""

import functools
from dataclasses import dataclass

from tvm import tirx

from ..common.epilogue import rint
from ..common.lowered import on_stack
from ..common.vectors import aligned, get, local, loop, pack, part, put, seq, unpack
from ..processor.intrinsics import llvm


@dataclass(frozen=True)
class _Place:
    """Which results are computed: a block of a segment's channels, `rows` rows from row h of image n.

    `starts` are the first pixels of the stretches that a row is cut into, all as long as `span`.
    """

    segment: object
    block: object
    n: object
    h: object
    rows: int
    span: int
    starts: tuple


class Kernel:
    """The function for a plan (`depthwise_columns`).

    The columns of a small window stay in registers while it moves along the row, and so do the constants of the
    channels where there are 32 registers. For others, a stretch of columns is interleaved into memory first.
    """

    def __init__(self, plan, dtype, offset, output, small):
        self.plan, self.conv, self.dot, self.width = plan, plan.conv, plan.dot, plan.dot.width
        self.dtype, self.offset, self.output, self.small = dtype, offset, output, small
        conv, self.lanes = self.conv, self.width // 4
        self.x = tirx.decl_buffer((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
        self.weights = tirx.decl_buffer(plan.weight_shape, "int8", "weights")
        self.constants = tirx.decl_buffer((plan.blocks, 3, 4, self.lanes), "int32", "constants")
        self.limits = tirx.decl_buffer((3,), "int32", "limits")
        self.out = tirx.decl_buffer(conv.nhwc_shape, output.dtype, "out")

        many_registers = self.width == 64
        self.sliding = conv.kernel[1] * plan.groups <= 3
        self.keep = self.sliding and many_registers
        self.abreast = 2 if many_registers and not self.sliding else 1
        self.longest = 1 if self.sliding else 16
        slots = (self.longest - 1) * conv.strides[1] + conv.kernel[1]
        self.memory = local(((slots * plan.groups + 1) * 4, self.lanes), "int32", "memory")
        self.raw = local((plan.in_rows, self.width), "uint8", "raw")
        self.kept = local((3, 4, self.lanes), "int32", "kept")
        self.bounds = local((2, self.width), output.dtype, "bounds")
        self.halves = local((self.abreast * plan.rows * 2, self.width // 2), "int16", "halves")
        self.sums = local((self.abreast * plan.rows * 2, self.lanes), "int32", "sums")
        self.packed = local((self.width,), output.dtype, "packed")

    def function(self):
        plan, conv = self.plan, self.conv
        tasks = -(-conv.out_height // plan.rows)

        def task(at):
            n, h = at // tasks, at % tasks * plan.rows
            full, rest = self._rows(n, h, plan.rows), conv.out_height % plan.rows
            return [tirx.IfThenElse(h + plan.rows <= conv.out_height, full, self._rows(n, h, rest)) if rest else full]

        buffers = (self.memory, self.raw, self.kept, self.bounds, self.halves, self.sums, self.packed)
        declared, self.columns = ([], self.memory) if self.sliding else aligned(self.memory)
        first = (
            [on_stack(buffer) for buffer in buffers]
            + declared
            + [
                put(self.bounds, [i], tirx.Broadcast(self.limits[i].astype(self.output.dtype), self.width))
                for i in range(2)
            ]
        )
        body = loop("task", conv.batch * tasks, lambda at: [*first, *task(at)], tirx.ForKind.PARALLEL)
        return tirx.PrimFunc([self.x, self.weights, self.constants, self.limits, self.out], body)

    def _rows(self, n, h, rows):
        """The results of `rows` rows."""
        return seq(
            [
                loop("block", segment.blocks, lambda block, segment=segment: self._block(segment, block, n, h, rows))
                for segment in self.plan.segments
            ]
        )

    def _block(self, segment, block, n, h, rows):
        """The results of one block of channels."""
        span = -(-self.conv.out_width // segment.pieces)
        starts = tuple(min(q * span, self.conv.out_width - span) for q in range(segment.pieces))
        place = _Place(segment, block, n, h, rows, span, starts)
        constants = self._constants(segment.index + block)
        return constants + (self._slide(place) if self.sliding else self._store_columns(place))

    def _constants(self, block):
        """Declare what belongs to the block of channels."""
        declared, (self.block_weights, self.block_constants) = zip(
            *[part(buffer, block) for buffer in (self.weights, self.constants)], strict=True
        )
        kept = [put(self.kept, [i, j], get(self.block_constants, [i, j])) for i in range(3) for j in range(4)]
        return [*declared, *(kept if self.keep else [])]

    def _slide(self, place):
        """With the columns of one window in registers."""
        (_, wide), (_, stride) = self.conv.kernel, self.conv.strides
        carried, vectors = wide - stride, 4 * self.plan.groups

        def write(interior):
            def step(w):
                new = [
                    stmt
                    for dx in range(carried, wide)
                    for stmt in self._interleave(place, w * stride + dx, dx, interior)
                ]
                moved = [
                    put(self.columns, [at], get(self.columns, [at + stride * vectors]))
                    for at in range(carried * vectors)
                ]
                return [*new, *self._results(place, [(w, 0)]), *moved]

            first = [stmt for dx in range(carried) for stmt in self._interleave(place, dx, dx, interior)]
            return [*first, loop("w", place.span, step)]

        return self._split(place, write)

    def _store_columns(self, place):
        """With the columns of `longest` windows in memory."""
        (_, wide), (_, stride) = self.conv.kernel, self.conv.strides
        stretches = -(-place.span // self.longest)
        count = -(-place.span // stretches)
        abreast = min(self.abreast, count)

        def stretch(at):
            first = tirx.min(at * count, place.span - count)

            def results(i):
                w = tirx.min(i * abreast, count - abreast)
                return self._results(place, [(first + w + u, (w + u) * stride) for u in range(abreast)])

            return [
                *self._split(
                    place,
                    lambda interior: [
                        loop(
                            "column",
                            (count - 1) * stride + wide,
                            lambda column: self._interleave(place, first * stride + column, column, interior),
                        )
                    ],
                ),
                loop("w", -(-count // abreast), results),
            ]

        return [loop("stretch", stretches, stretch)]

    def _interleave(self, place, column, slot, interior):
        """Make column `column` (of the padded input, in each stretch) the one in `slot`."""
        conv, plan, stmts = self.conv, self.plan, []
        needed, channels = self._needed(place), place.segment.width
        fill = tirx.Broadcast(tirx.const(self.offset, "uint8"), channels)
        for q, start in enumerate(place.starts):
            col = column + start * conv.strides[1] - conv.padding[1]
            puts = [
                functools.partial(tirx.BufferStore, self.raw, indices=[t, tirx.Ramp(q * channels, 1, channels)])
                for t in range(needed)
            ]
            stmts.append(
                tirx.IfThenElse(
                    tirx.all(col >= 0, col < conv.width),
                    seq([puts[t](self._bytes(place, t, col, fill, interior)) for t in range(needed)]),
                    seq([puts[t](fill) for t in range(needed)]),
                )
            )
        for g in range(plan.groups):
            a, b, c, d = (get(self.raw, [(4 * g + k) % needed]) for k in range(4))  # any row, where there is no more
            for half in range(2):
                ab, cd = (
                    tirx.reinterpret(f"int16x{self.width // 2}", unpack(*pair, half, self.width, 1))
                    for pair in ((a, b), (c, d))
                )
                for quarter in range(2):
                    dwords = tirx.reinterpret(f"int32x{self.lanes}", unpack(ab, cd, quarter, self.width, 2))
                    stmts.append(put(self.columns, [(slot * plan.groups + g) * 4 + 2 * half + quarter], dwords))
        return stmts

    def _needed(self, place):
        """How many rows of the input the results need."""
        return (place.rows - 1) * self.conv.strides[0] + self.conv.kernel[0]

    def _bytes(self, place, t, col, fill, interior):
        """The block's channels in row t of those that the task reads, as bytes that are not negative."""
        conv, segment = self.conv, place.segment
        row = place.h * conv.strides[0] + t - conv.padding[0]
        value = self.x.vload(
            [place.n, row, col, segment.first + place.block * segment.width], f"{self.dtype}x{segment.width}"
        )
        if self.dtype == "int8":
            value = tirx.reinterpret(f"uint8x{segment.width}", value) + fill
        return value if interior else tirx.if_then_else(tirx.all(row >= 0, row < conv.height), value, fill)

    def _split(self, place, write):
        """What `write` makes, apart for tasks that read no padding above or below."""
        top, needed = place.h * self.conv.strides[0] - self.conv.padding[0], self._needed(place)
        if not (self.conv.padding[0] or self.conv.padding[2]):
            return write(True)
        return [
            tirx.IfThenElse(tirx.all(top >= 0, top + needed <= self.conv.height), seq(write(True)), seq(write(False)))
        ]

    def _results(self, place, windows):
        """The results of all rows for windows, (pixel, slot of the first column), each."""
        many = [(r, w, slot) for r in range(place.rows) for w, slot in windows]
        if self.width == 64 or not self.sliding:
            return self._together(place, many)
        return [stmt for one in many for stmt in self._together(place, [one])]  # with 16 registers

    def _together(self, place, many):
        """The results of several (row, pixel, slot), added up in turn: each sum waits for its last addition."""
        stmts = []
        for j in range(4):
            bias = get(self.kept if self.keep else self.block_constants, [0, j])
            stmts += [put(self.sums, [2 * i + j % 2], bias) for i in range(len(many))]
            steps = [self._steps(slot, r, j) for r, _, slot in many]
            for step in range(max(map(len, steps))):
                for i in range(len(many)):
                    at = [2 * i + j % 2]
                    stmts += [
                        put(self.sums, at, self._dot(get(self.sums, at), terms)) for terms in steps[i][step : step + 1]
                    ]
            if j % 2:
                for i in range(len(many)):
                    values = [self._requantized(get(self.sums, [2 * i + k]), j - 1 + k) for k in range(2)]
                    stmts.append(put(self.halves, [2 * i + j // 2], pack("packssdw", *values, self.width, 2)))
        for i, (r, w, _) in enumerate(many):
            stmts += self._write(place, r, w, [get(self.halves, [2 * i + half]) for half in range(2)])
        return stmts

    def _write(self, place, r, w, halves):
        """Store the results of one window; `halves` are int16."""
        segment, dtype = place.segment, self.output.dtype
        value = pack("packsswb" if dtype == "int8" else "packuswb", *halves, self.width, 1)
        value = tirx.reinterpret(f"{dtype}x{self.width}", value)
        value = tirx.min(tirx.max(value, get(self.bounds, [0])), get(self.bounds, [1]))
        stmts, whole = [put(self.packed, [], value)], get(self.packed, [])
        for q, start in enumerate(place.starts):
            piece = (
                whole
                if segment.pieces == 1
                else tirx.Shuffle([whole], list(range(q * segment.width, (q + 1) * segment.width)))
            )
            channels = tirx.Ramp(segment.first + place.block * segment.width, 1, segment.width)
            stmts.append(tirx.BufferStore(self.out, piece, [place.n, place.h + r, w + start, channels]))
        return stmts

    def _steps(self, slot, r, j):
        """Columns and weights of vector j of row r's results, those that one `_dot` adds up together."""
        terms = [
            (
                get(self.columns, [((slot + dx) * self.plan.groups + g) * 4 + j]),
                self.block_weights.vload([r, dx, g, j, 0, 0], f"int8x{self.width}"),
            )
            for dx in range(self.conv.kernel[1])
            for g in self.plan.group_range(r)
        ]
        size = max(self.dot.chain, 1)
        return [terms[i : i + size] for i in range(0, len(terms), size)]

    def _requantized(self, acc, j):
        """int32: vector j of the results, before they are clipped."""
        real = f"float32x{self.lanes}"
        constants = self.kept if self.keep else self.block_constants
        multiplier, shift = (tirx.reinterpret(real, get(constants, [i, j])) for i in (1, 2))
        if not self.small:
            return rint(acc.astype(real) * multiplier, self.lanes)
        # acc - 2^23 (exact for acc >= 0, and negative below) times the multiplier, rounded once
        scaled = tirx.call_llvm_pure_intrin(real, "llvm.fma", tirx.reinterpret(real, acc), multiplier, shift)
        return rint(scaled, self.lanes)

    def _dot(self, acc, terms):
        """`acc` + the sum of four products in each dword of the terms."""
        columns, weights = zip(
            *((tirx.reinterpret(f"int8x{self.width}", column), weight) for column, weight in terms), strict=True
        )
        if not self.dot.chain:
            return llvm(f"llvm.x86.avx512.vpdpbusd.{self.width * 8}", f"int32x{self.lanes}", acc, *columns, *weights)
        pairs = f"int16x{self.width // 2}"
        products = [llvm("llvm.x86.avx2.pmadd.ub.sw", pairs, *both) for both in zip(columns, weights, strict=True)]
        ones = tirx.Broadcast(tirx.const(1, "int16"), self.width // 2)
        return acc + llvm("llvm.x86.avx2.pmadd.wd", f"int32x{self.lanes}", sum(products[1:], products[0]), ones)
