"""The multiply-accumulate instructions as TIR tensor intrinsics: what `instructions` describes, in LLVM's words."""

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


def register(instruction, body):
    """Register the tensor intrinsic once; `body(A, B, c)` gives the new vector of int32 accumulators."""
    return registered(instruction, instruction.name, _multiply, body)


def register_chained(instruction, multiply, widen, link=None):
    """Register the two intrinsics of an instruction with an int16 step, once for all its chains.

    `multiply(A, B, c)` gives the new vector of int16 sums, two for each lane, and `widen(S, c)` the new vector of int32
    accumulators once such sums are added to them. `link` makes the first of the two, if not as usual.
    """
    registered(instruction, instruction.link, link or _link, multiply)
    return registered(instruction, instruction.widening, _widen, widen)


def registered(instruction, name, make, body):
    """The instruction, once there is an intrinsic of that name: what `make(instruction, body)` returns."""
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *make(instruction, body))
    return instruction


# The accumulators' scope must be "local" in both halves: a "global" buffer above 1 KiB is put on the heap.


def _multiply(ins, body):
    lanes, pairs, a_dtype, b_dtype = ins.lanes, ins.pairs, ins.activation, ins.weight

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (pairs,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:pairs], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            for i, k in T.grid(lanes, pairs):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(B[vi, vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (pairs,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:pairs], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    return description, implementation


def _link(ins, body):
    lanes, pairs, a_dtype, b_dtype = ins.lanes, ins.pairs, ins.activation, ins.weight
    count = pairs // 2  # products that the instruction itself adds

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (pairs,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes, 2), "int16", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes, 0:2], A[0:pairs], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes, 0:2])
            for i, h, k in T.grid(lanes, 2, count):
                with T.sblock("update"):
                    vi, vh, vk = T.axis.remap("SSR", [i, h, k])
                    C[vi, vh] = C[vi, vh] + T.cast(A[vh * count + vk], "int16") * T.cast(
                        B[vi, vh * count + vk], "int16"
                    )

    @T.prim_func(s_tir=True)
    def single(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (pairs,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes, 2), "int16", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes, 0:2], A[0:pairs], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes, 0:2])
            for i, h in T.grid(lanes, 2):
                with T.sblock("update"):
                    vi, vh = T.axis.remap("SS", [i, h])
                    C[vi, vh] = C[vi, vh] + T.cast(A[vh], "int16") * T.cast(B[vi, vh], "int16")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (pairs,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes, 2), "int16", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes, 0:2], A[0:pairs], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes, 0:2])
            C[0, T.ramp(T.int32(0), 1, 2 * lanes)] = body(A, B, C.vload([0, 0], dtype=f"int16x{2 * lanes}"))

    return single if count == 1 else description, implementation  # an axis of extent 1 vanishes from a block


def _widen(ins, body):
    lanes = ins.lanes

    @T.prim_func(s_tir=True)
    def description(s: T.handle, c: T.handle) -> None:
        S = T.match_buffer(s, (lanes, 2), "int16", offset_factor=1, scope="local")
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], S[0:lanes, 0:2])
            T.writes(C[0:lanes])
            for i, h in T.grid(lanes, 2):
                with T.sblock("update"):
                    vi, vh = T.axis.remap("SR", [i, h])
                    C[vi] = C[vi] + T.cast(S[vi, vh], "int32")

    @T.prim_func(s_tir=True)
    def implementation(s: T.handle, c: T.handle) -> None:
        S = T.match_buffer(s, (lanes, 2), "int16", offset_factor=1, scope="local")
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], S[0:lanes, 0:2])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(
                S.vload([0, 0], dtype=f"int16x{2 * lanes}"), C.vload([0], dtype=f"int32x{lanes}")
            )

    return description, implementation


def llvm(name, dtype, *args):
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def spread(A, at, count, dtype, times):
    """`count` neighbouring activations from A[at], repeated `times` times in a vector register."""
    bits = count * int(dtype.removeprefix("u").removeprefix("int"))
    group = T.reinterpret(A.vload([at], f"{dtype}x{count}"), dtype=f"int{bits}")
    return T.reinterpret(T.broadcast(group, times), dtype=f"{dtype.removeprefix('u')}x{count * times}")


def vpdpbusd_body(lanes):
    # LLVM 22 takes the byte operands of vpdpbusd as vectors of i8.
    def body(A, B, c):
        a = spread(A, 0, 4, "uint8", lanes)
        return llvm(
            f"llvm.x86.avx512.vpdpbusd.{lanes * 32}", f"int32x{lanes}", c, a, B.vload([0, 0], f"int8x{lanes * 4}")
        )

    return body


_PMADDUBSW = {8: "llvm.x86.avx2.pmadd.ub.sw", 16: "llvm.x86.avx512.pmaddubs.w.512"}
_PMADDWD = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


def pmaddubsw_bodies(lanes):
    """A link, its widening, and both at once for what is no chain."""

    def multiply(A, B):
        return llvm(
            _PMADDUBSW[lanes],
            f"int16x{2 * lanes}",
            spread(A, 0, 4, "uint8", lanes),
            B.vload([0, 0], f"int8x{4 * lanes}"),
        )

    def widen(sums, c):
        return c + llvm(_PMADDWD[lanes], f"int32x{lanes}", sums, T.broadcast(T.int16(1), 2 * lanes))

    return lambda A, B, c: c + multiply(A, B), widen, lambda A, B, c: widen(multiply(A, B), c)


def pmaddwd_body(lanes):
    def body(A, B, c):
        return c + llvm(
            _PMADDWD[lanes], f"int32x{lanes}", spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}")
        )

    return body


def vpdpwssd_body(lanes):
    def body(A, B, c):
        return llvm(
            f"llvm.x86.avx512.vpdpwssd.{lanes * 32}",
            f"int32x{lanes}",
            c,
            spread(A, 0, 2, "int16", lanes),
            B.vload([0, 0], f"int16x{lanes * 2}"),
        )

    return body
