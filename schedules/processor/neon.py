"""What ARM multiplies with: the bodies of its instructions, and the forms that only it has.

Lanes may be parts of one output channel, each with activations of its own (`parted_smlal_bodies`, added by
`sum_of_parts`), or several vectors of weights share a register of activations, element by element (`shared_...`).
"""

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from .intrinsics import llvm, register_chained, registered, spread

REGISTERS_32 = 16  # of 32-bit ARM


def sdot_body():
    def body(A, B, c):
        return llvm(
            "llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4", c, spread(A, 0, 4, "int8", 4), B.vload([0, 0], "int8x16")
        )

    return body


def smlal_bodies():
    """As `pmaddubsw_bodies`. LLVM fuses smull + add into smlal, and saddlp + add into sadalp."""

    def multiply(A, B):
        return llvm("llvm.aarch64.neon.smull.v8i16", "int16x8", spread(A, 0, 2, "int8", 4), B.vload([0, 0], "int8x8"))

    def widen(sums, c):
        return c + llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", sums)

    return lambda A, B, c: c + multiply(A, B), widen, lambda A, B, c: widen(multiply(A, B), c)


def vmlal_bodies():
    """As `intrinsics.pmaddubsw_bodies`. LLVM fuses vmull + add into vmlal, but not vpaddl + add into vpadal."""

    def multiply(A, B):
        return llvm("llvm.arm.neon.vmulls.v8i16", "int16x8", spread(A, 0, 2, "int8", 4), B.vload([0, 0], "int8x8"))

    def widen(sums, c):
        return llvm("llvm.arm.neon.vpadals.v4i32.v8i16", "int32x4", c, sums)

    return lambda A, B, c: c + multiply(A, B), widen, lambda A, B, c: widen(multiply(A, B), c)


def parted_smlal_bodies():
    """As `pmaddubsw_bodies`, of 16 channels' activations and one output channel's weights: smlal and smlal2."""

    def multiply(A, B, sums):
        a, b = A.vload([0], "int8x16"), B.vload([0], "int8x16")
        for half in (T.vectorlow, T.vectorhigh):
            sums = sums + llvm(
                "llvm.aarch64.neon.smull.v8i16", "int16x8", half(a, dtype="int8x8"), half(b, dtype="int8x8")
            )
        return sums

    return multiply, smlal_bodies()[1]


def shared_sdot_body(chain):
    """Sdot by element: each quarter of a register of activations in turn."""

    def body(A, B, c):
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

    return body


def shared_int16_body(chain, lanes):
    """Smlal and smlal2 by element: each int16 of a register of activations in turn."""

    def body(A, B, c):
        a = A.vload([0], f"int16x{chain}")
        for q in range(chain):
            c = c + T.Cast(f"int32x{lanes}", T.broadcast(T.Shuffle([a], [q]), lanes)) * T.Cast(
                f"int32x{lanes}", B.vload([q, 0], f"int16x{lanes}")
            )
        return c

    return body


def register_parted(instruction, multiply, widen):
    """As `intrinsics.register_chained`, where lanes are parts of a channel."""
    return register_chained(instruction, multiply, widen, _link_of_parts)


def register_shared(instruction, body):
    """Register the intrinsic of several vectors of weights that share a register; `body` as for `register`."""
    return registered(instruction, instruction.name, _shared if instruction.pairs > 1 else _shared_single, body)


def load_ahead(sch, loop):
    """Load what the block "added" holds, a residual, for an iteration of `loop` at once.

    Loads stay behind the stores before them, as the two might meet: one result would wait for the other.
    """
    sch.set_scope(sch.get_sblock("added"), 0, "local")
    sch.compute_at(sch.get_sblock("added"), loop, preserve_unit_loops=True)
    *pixels, c = sch.get_loops(sch.get_sblock("added"))[-3:]
    for pixel in pixels:
        sch.unroll(pixel)
    sch.vectorize(c)


def sum_of_parts():
    """Name of the tensor intrinsic C[i] = A[4 i] + ... + A[4 i + 3] for four channels' accumulators in four parts."""
    name = "eq_tvm.sum_of_parts"
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *_sum_of_parts())
    return name


def _link_of_parts(ins, body):
    """Lanes are parts of a channel: both operands have all that a link consumes, in two halves of a register."""
    lanes, size = ins.lanes, ins.parts * ins.pairs

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (size,), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes, 2), "int16", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes, 0:2], A[0:size], B[0:size])
            T.writes(C[0:lanes, 0:2])
            for i, h, k in T.grid(lanes, 2, 2):
                with T.sblock("update"):
                    vi, vh, vk = T.axis.remap("SSR", [i, h, k])
                    C[vi, vh] = C[vi, vh] + T.cast(A[vk * (2 * lanes) + vi * 2 + vh], "int16") * T.cast(
                        B[vk * (2 * lanes) + vi * 2 + vh], "int16"
                    )

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (size,), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes, 2), "int16", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes, 0:2], A[0:size], B[0:size])
            T.writes(C[0:lanes, 0:2])
            C[0, T.ramp(T.int32(0), 1, 2 * lanes)] = body(A, B, C.vload([0, 0], dtype=f"int16x{2 * lanes}"))

    return description, implementation


def _shared(ins, body):
    lanes, pairs, chain = ins.lanes, ins.pairs, ins.chain

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (chain * pairs,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (chain, lanes, pairs), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0 : chain * pairs], B[0:chain, 0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            for i, q, k in T.grid(lanes, chain, pairs):
                with T.sblock("update"):
                    vi, vq, vk = T.axis.remap("SRR", [i, q, k])
                    C[vi] = C[vi] + T.cast(A[vq * pairs + vk], "int32") * T.cast(B[vq, vi, vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (chain * pairs,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (chain, lanes, pairs), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0 : chain * pairs], B[0:chain, 0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    return description, implementation


def _shared_single(ins, body):
    lanes, chain = ins.lanes, ins.chain

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (chain,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (chain, lanes), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:chain], B[0:chain, 0:lanes])
            T.writes(C[0:lanes])
            for i, q in T.grid(lanes, chain):
                with T.sblock("update"):
                    vi, vq = T.axis.remap("SR", [i, q])
                    C[vi] = C[vi] + T.cast(A[vq], "int32") * T.cast(B[vq, vi], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (chain,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (chain, lanes), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:chain], B[0:chain, 0:lanes])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    return description, implementation


def _sum_of_parts():
    def pairwise(a, b):
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
