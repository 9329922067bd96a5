"""ARM's multiply instructions, in vectors of 128 bits: the record of each, and its words in LLVM's language.

Lanes may hold partial sums of one output channel, each with activations of its own (smlal_parts, added by
`sum_of_parts`), or several vectors of weights share a register of activations, element by element (sdot_element,
smlal_int16). Those of two pixels are in `i8mm`.

To add one, define it here and put it where it belongs in `FOR_BYTES` or `FOR_INT16`; ``targets.yaml`` says who has it,
and `eq_tvm.host` what a processor needs to have for it.
"""

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .i8mm import smmla, usmmla
from .instruction import Definition, Instruction
from .intrinsics import Expr, Pair, chained, llvm, multiplying, parted, shared, spread
from .registered import registered
from .sums import multiplying_sums

REGISTERS, REGISTERS_32 = 32, 16  # of 64-bit and of 32-bit ARM


def _sdot(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
    return llvm(
        "llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4", c, spread(A, 0, 4, "int8", 4), B.vload([0, 0], "int8x16")
    )


def _sdot_element(chain: int) -> Definition:
    """Each quarter of a register of activations in turn."""

    def body(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
        a = T.reinterpret(A.vload([0], f"int8x{4 * chain}"), dtype=f"int32x{chain}")
        for q in range(chain):
            c = llvm(
                "llvm.aarch64.neon.sdot.v4i32.v16i8",
                "int32x4",
                c,  # LLVM looks for elements in the last place
                B.vload([q, 0, 0], "int8x16"),
                T.reinterpret(T.broadcast(T.Shuffle([a], [q]), 4), dtype="int8x16"),
            )
        return c

    return Definition(
        Instruction(
            f"sdot_element_x{chain}", "aarch64", "sdot", 4, 4, "int8", "int8", REGISTERS, chain=chain, fused=True
        ),
        shared(body),
    )


def _smull(a: Expr, b: Expr) -> Expr:
    return llvm("llvm.aarch64.neon.smull.v8i16", "int16x8", a, b)


def _smlal(A: tirx.Buffer, B: tirx.Buffer) -> Expr:
    return _smull(spread(A, 0, 2, "int8", 4), B.vload([0, 0], "int8x8"))


def _smlal_parts(A: tirx.Buffer, B: tirx.Buffer, sums: Expr) -> Expr:
    """Of 16 channels' activations and one output channel's weights: smlal and smlal2."""
    a, b = A.vload([0], "int8x16"), B.vload([0], "int8x16")
    for half in (T.vectorlow, T.vectorhigh):
        sums = sums + _smull(half(a, dtype="int8x8"), half(b, dtype="int8x8"))
    return sums


def _sadalp(sums: Expr, c: Expr) -> Expr:
    return c + llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", sums)


def _smlal_int16(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
    """Smlal and smlal2 by element: each int16 of a register of activations in turn."""
    a = A.vload([0], "int16x8")
    for q in range(8):
        c = c + T.Cast("int32x8", T.broadcast(T.Shuffle([a], [q]), 8)) * T.Cast("int32x8", B.vload([q, 0], "int16x8"))
    return c


def _vmlal_int16(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
    """Vmlal by element: each int16 of half a register of activations in turn."""
    a = A.vload([0], "int16x4")
    for q in range(4):
        c = c + T.Cast("int32x4", T.broadcast(T.Shuffle([a], [q]), 4)) * T.Cast("int32x4", B.vload([q, 0], "int16x4"))
    return c


def _vmlal(A: tirx.Buffer, B: tirx.Buffer) -> Expr:
    return llvm("llvm.arm.neon.vmulls.v8i16", "int16x8", spread(A, 0, 2, "int8", 4), B.vload([0, 0], "int8x8"))


def _vpadal(sums: Expr, c: Expr) -> Expr:
    return llvm("llvm.arm.neon.vpadals.v4i32.v8i16", "int32x4", c, sums)


SDOT = Definition(
    Instruction("sdot", "aarch64", "sdot", 4, 4, "int8", "int8", REGISTERS, fused=True),
    multiplying(_sdot),
    (_sdot_element(4), _sdot_element(2)),
)
SMMLA, USMMLA = smmla(SDOT, *SDOT.variants), usmmla()
SMLAL_PARTS = Definition(
    Instruction(
        "smlal_parts",
        "aarch64",
        "smlal",
        4,
        4,
        "int8",
        "int8",
        REGISTERS,
        lengths=(1, 2, 4),
        lanes_per_channel=4,
        fused=True,
    ),
    parted(_smlal_parts, _sadalp),
)
# LLVM fuses smull + add into smlal, and saddlp + add into sadalp; vmull + add into vmlal, but not vpaddl + add.
SMLAL = Definition(
    Instruction("smlal", "aarch64", "smlal", 4, 2, "int8", "int8", REGISTERS, lengths=(1, 2, 4, 8), fused=True),
    chained(_smlal, _sadalp),
    (SMLAL_PARTS,),
)
VMLAL = Definition(
    Instruction("vmlal", "armv7", "vmlal", 4, 2, "int8", "int8", REGISTERS_32, lengths=(1, 2, 4, 8), fused=True),
    chained(_vmlal, _vpadal),
)
SMLAL_INT16 = Definition(  # with two registers of accumulators, for the halves of a register of weights
    Instruction(
        "smlal_int16", "aarch64", "smlal", 8, 1, "int16", "int16", REGISTERS // 2, chain=8, fused=True, rate=0.5
    ),
    shared(_smlal_int16),
)

VMLAL_INT16 = Definition(
    Instruction("vmlal_int16", "armv7", "vmlal", 4, 1, "int16", "int16", REGISTERS_32, chain=4, fused=True, rate=0.5),
    shared(_vmlal_int16),
)


def _smlal_sums(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
    """Smlal and smlal2, of sums: on many processors of ARM a unit that does not multiply adds meanwhile."""
    one, other = (T.broadcast(A.vload([q], "int16"), 8) + B.vload([q, 0], "int16x8") for q in (0, 1))
    return c + T.Cast("int32x8", one) * T.Cast("int32x8", other)


OF_SUMS = (
    Definition(
        Instruction(
            "smlal_sums_int16",
            "aarch64",
            "smlal-sums",
            8,
            1,
            "int16",
            "int16",
            REGISTERS // 2,
            chain=2,
            fused=True,
            sums=True,
            rate=0.5,
        ),
        multiplying_sums(_smlal_sums),
    ),
)

# Fastest first. Powers of two divide the usual channel counts.
FOR_BYTES = (USMMLA, SMMLA, SDOT, SMLAL, VMLAL)
FOR_INT16 = (SMLAL_INT16, VMLAL_INT16)


def load_ahead(sch: s_tir.Schedule, loop: s_tir.schedule.LoopRV) -> None:
    """Load what the block "added" holds, a residual, for an iteration of `loop` at once.

    Loads stay behind the stores before them, as the two might meet: one result would wait for the other.
    """
    sch.set_scope(sch.get_sblock("added"), 0, "local")
    sch.compute_at(sch.get_sblock("added"), loop, preserve_unit_loops=True)
    *pixels, c = sch.get_loops(sch.get_sblock("added"))[-3:]
    for pixel in pixels:
        sch.unroll(pixel)
    sch.vectorize(c)


def sum_of_parts() -> str:
    """Name of the tensor intrinsic C[i] = A[4 i] + ... + A[4 i + 3]: four channels' accumulators, four lanes each."""
    return registered("eq_tvm.sum_of_parts", _sum_of_parts)


def _sum_of_parts() -> Pair:
    def pairwise(a: Expr, b: Expr) -> Expr:
        return llvm("llvm.aarch64.neon.addp.v4i32", "int32x4", a, b)

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (16,), "int32", offset_factor=1, scope="local")
        C = T.match_buffer(c, (4,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:16])
            T.writes(C[0:4])
            for i in T.serial(4):
                with T.sblock("sum"):
                    vi = T.axis.spatial(4, i)
                    C[vi] = A[vi * 4] + A[vi * 4 + 1] + A[vi * 4 + 2] + A[vi * 4 + 3]

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (16,), "int32", offset_factor=1, scope="local")
        C = T.match_buffer(c, (4,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:16])
            T.writes(C[0:4])
            C[T.ramp(T.int32(0), 1, 4)] = pairwise(
                pairwise(A.vload([0], "int32x4"), A.vload([4], "int32x4")),
                pairwise(A.vload([8], "int32x4"), A.vload([12], "int32x4")),
            )

    return description, implementation
