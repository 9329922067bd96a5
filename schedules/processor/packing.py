"""Four vectors of int32 to one vector of bytes and back, which AVX-512 does within lanes of 128 bits.

Packing leaves the values in an order of its own: vector j, lane 4 L + i of the operands ends up at place
16 L + 4 j + i. Kernels that pack therefore keep a block's output channels in that order (in weights, bias and
multiplier), so that the bytes come out in the natural one.
"""

from typing import Any

from tvm import tirx
from tvm.script import tirx as T

from .intrinsics import Expr, Pair, llvm
from .registered import registered

BLOCK = 64  # channels


def position(channel: Any) -> Any:
    """Where in a block of four vectors an output channel's accumulator stands; both count from the block's first.

    Its own inverse: also the channel at a place.
    """
    return channel % 16 // 4 * 16 + channel // 16 * 4 + channel % 4


def pack_intrinsic(dtype: str) -> str:
    """Name of the tensor intrinsic C[c] = saturate(A[position(c)]) for int32 A and `dtype` C, both (64,)."""
    return registered(f"eq_tvm.pack_{dtype}", lambda: _pack(dtype))


def unpack_intrinsic() -> str:
    """Name of the tensor intrinsic C[p] = A[position(p)] for uint8 A and int32 C, both (64,)."""
    return registered("eq_tvm.unpack_uint8", _unpack)


def _pack(dtype: str) -> Pair:
    least, greatest = (0, 255) if dtype == "uint8" else (-128, 127)
    to_bytes = "llvm.x86.avx512.packuswb.512" if dtype == "uint8" else "llvm.x86.avx512.packsswb.512"

    def body(A: tirx.Buffer) -> Expr:
        vectors = [A.vload([16 * j], "int32x16") for j in range(4)]
        halves = [llvm("llvm.x86.avx512.packssdw.512", "int16x32", vectors[j], vectors[j + 1]) for j in (0, 2)]
        return T.reinterpret(llvm(to_bytes, "int8x64", *halves), dtype=f"{dtype}x64")

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (64,), "int32", offset_factor=1, scope="local")
        C = T.match_buffer(c, (64,), dtype, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:64])
            T.writes(C[0:64])
            for i in T.serial(64):
                with T.sblock("pack"):
                    vi = T.axis.spatial(64, i)
                    C[vi] = T.Cast(dtype, T.min(T.max(A[position(vi)], T.int32(least)), T.int32(greatest)))

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (64,), "int32", offset_factor=1, scope="local")
        C = T.match_buffer(c, (64,), dtype, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:64])
            T.writes(C[0:64])
            C[T.ramp(T.int32(0), 1, 64)] = body(A)

    return description, implementation


def _unpack() -> Pair:
    def body(A: tirx.Buffer, j: int) -> Expr:
        # LLVM makes of this one shuffle of bytes for each vector.
        places = [T.int32(16 * lane + 4 * j + i) for lane in range(4) for i in range(4)]
        return T.Cast("int32x16", T.Shuffle([A.vload([0], "uint8x64")], places))

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (64,), "uint8", offset_factor=1)
        C = T.match_buffer(c, (64,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:64])
            T.writes(C[0:64])
            for i in T.serial(64):
                with T.sblock("unpack"):
                    vi = T.axis.spatial(64, i)
                    C[vi] = T.Cast("int32", A[position(vi)])

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (64,), "uint8", offset_factor=1)
        C = T.match_buffer(c, (64,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(A[0:64])
            T.writes(C[0:64])
            C[T.ramp(T.int32(0), 1, 16)] = body(A, 0)
            C[T.ramp(T.int32(16), 1, 16)] = body(A, 1)
            C[T.ramp(T.int32(32), 1, 16)] = body(A, 2)
            C[T.ramp(T.int32(48), 1, 16)] = body(A, 3)

    return description, implementation
