"""The multiply-accumulate instructions as TIR tensor intrinsics: what `instructions` describes, in LLVM's words."""

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


def register(instruction, body):
    """Register the tensor intrinsic once; `body(A, B, c)` gives the new accumulator vector."""
    if TensorIntrin.get(instruction.name, allow_missing=True) is None:
        TensorIntrin.register(instruction.name, _description(instruction), _implementation(instruction, body))
    return instruction


# The accumulator's scope must be "local" in both halves: a "global" buffer above 1 KiB is put on the heap.
# Axes of extent 1 vanish from a block that is tensorized, so without a chain B has no chain axis.


def _description(ins):
    lanes, chain, pairs, depth = ins.lanes, ins.chain, ins.pairs, ins.depth
    a_dtype, b_dtype = ins.activation, ins.weight

    @T.prim_func(s_tir=True)
    def single(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (depth,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:depth], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            for i, k in T.grid(lanes, pairs):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(B[vi, vk], "int32")

    if chain == 1:
        return single

    @T.prim_func(s_tir=True)
    def chained(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (depth,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (chain, lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:depth], B[0:chain, 0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            for i, j, k in T.grid(lanes, chain, pairs):
                with T.sblock("update"):
                    vi, vj, vk = T.axis.remap("SRR", [i, j, k])
                    C[vi] = C[vi] + T.cast(A[vj * pairs + vk], "int32") * T.cast(B[vj, vi, vk], "int32")

    return chained


def _implementation(ins, body):
    lanes, chain, pairs, depth = ins.lanes, ins.chain, ins.pairs, ins.depth
    a_dtype, b_dtype = ins.activation, ins.weight

    @T.prim_func(s_tir=True)
    def single(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (depth,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:depth], B[0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    if chain == 1:
        return single

    @T.prim_func(s_tir=True)
    def chained(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (depth,), a_dtype, offset_factor=1)
        B = T.match_buffer(b, (chain, lanes, pairs), b_dtype, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:depth], B[0:chain, 0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    return chained


def llvm(name, dtype, *args):
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def _spread(A, at, count, dtype, times):
    """`count` neighbouring activations from A[at], repeated `times` times in a vector register."""
    bits = count * int(dtype.removeprefix("u").removeprefix("int"))
    group = T.reinterpret(A.vload([at], f"{dtype}x{count}"), dtype=f"int{bits}")
    return T.reinterpret(T.broadcast(group, times), dtype=f"{dtype.removeprefix('u')}x{count * times}")


def _link(B, j, dtype):
    """The weights of the chain's link `j`."""
    return B.vload([j, 0, 0] if len(B.shape) == 3 else [0, 0], dtype)


def vpdpbusd_body(lanes):
    # LLVM 22 takes the byte operands of vpdpbusd as vectors of i8.
    def body(A, B, c):
        a = _spread(A, 0, 4, "uint8", lanes)
        return llvm(f"llvm.x86.avx512.vpdpbusd.{lanes * 32}", f"int32x{lanes}",
                     c, a, B.vload([0, 0], f"int8x{lanes * 4}"))
    return body


def pmaddubsw_body(lanes, chain):
    multiply, widen = {
        8: ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"),
        16: ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")}[lanes]

    def body(A, B, c):
        total = None
        for j in range(chain):
            product = llvm(multiply, f"int16x{2 * lanes}",
                            _spread(A, 4 * j, 4, "uint8", lanes), _link(B, j, f"int8x{4 * lanes}"))
            total = product if total is None else total + product
        return c + llvm(widen, f"int32x{lanes}", total, T.broadcast(T.int16(1), 2 * lanes))
    return body


def pmaddwd_body(lanes):
    name = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[lanes]

    def body(A, B, c):
        return c + llvm(name, f"int32x{lanes}",
                         _spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}"))
    return body


def vpdpwssd_body(lanes):
    def body(A, B, c):
        return llvm(f"llvm.x86.avx512.vpdpwssd.{lanes * 32}", f"int32x{lanes}",
                     c, _spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}"))
    return body


def sdot_body():
    def body(A, B, c):
        return llvm("llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4",
                     c, _spread(A, 0, 4, "int8", 4), B.vload([0, 0], "int8x16"))
    return body


def smlal_body(chain):
    # LLVM fuses smull + add into smlal, and saddlp + add into sadalp.
    def body(A, B, c):
        total = None
        for j in range(chain):
            product = llvm("llvm.aarch64.neon.smull.v8i16", "int16x8",
                            _spread(A, 2 * j, 2, "int8", 4), _link(B, j, "int8x8"))
            total = product if total is None else total + product
        return c + llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", total)
    return body
