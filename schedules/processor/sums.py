"""Instructions that multiply sums of activations and weights, which takes half as many products.

Winograd (IEEE Transactions on Computers C-17, 1968, "A New Algorithm for Inner Product") multiplies two channels'
activations a, b by their weights v, w at once:

    (a + w) (b + v) = a v + b w + a b + v w

a b is the same for all output channels, and v w for all pixels. So an addition takes the place of a multiplication: of
bytes it is exact where 8 bits hold the sums, as they do of INT7. It pays where a processor adds beside it, as AMD's do.

The first sum has no sign. What is added for that, and to have the second one in the range of int8, is part of the
weights: v and w are stored with offsets, p + w for the first activation and p - 128 + v for the second.
"""

from __future__ import annotations

from functools import partial

from tvm import tirx
from tvm.script import tirx as T

from .instruction import Instruction
from .intrinsics import Body, Expr, Pair, Register, llvm
from .registered import registered

SIGN = 128  # less for the second sum
GROUP = 8  # bytes that make four products
QUADS = (8, 4)  # groups in a vector, the most first


def offset(span: tuple[int, int], weights: tuple[int, int]) -> int:
    """What is added to the weights, p: so that the least first sum is 0.

    Parameters
    ----------
    span, weights : (int, int)
        Ranges of activations as they are stored, and of weights. Both have 0.
    """
    return -(span[0] + weights[0])


def reached(span: tuple[int, int], weights: tuple[int, int]) -> int:
    """The greatest first sum then: 8 bits hold 255."""
    return span[1] - span[0] + weights[1] - weights[0]


def product(a: Expr, b: Expr, first: Expr, second: Expr) -> Expr:
    """(a + first) times (b + second), of bytes, as int32: the first sum has no sign, and wraps."""
    unsigned, signed = a.astype("uint8") + first.astype("uint8"), b.astype("int8") + second.astype("int8")
    return unsigned.astype("int32") * signed.astype("int32")


def multiplying_sums(body: Body) -> Register:
    """The intrinsic C[i] += sum over pair of `product` of A[pair], A[4 + pair], B[0, i, pair] and B[1, i, pair].

    Parameters
    ----------
    body : callable (A, B, c)
        As for `intrinsics.multiplying`.
    """
    return lambda ins: registered(f"eq_tvm.{ins.base_name}", _sums, ins, body)


def of_pixels(ins: Instruction, groups: int, p: int) -> str:
    """Name of the intrinsic that adds what a pixel has by itself, as if of weights of 0: C[i] += a b, with offsets.

    Parameters
    ----------
    ins : Instruction
        Whose activations (groups * 8,) are multiplied.
    groups : int
        One of `QUADS`: elements of C.
    p : int
        See `offset`.
    """
    return registered(f"eq_tvm.{ins.base_name}_pixels_{groups}_{p}", partial(_pixels, p=p), ins, groups)


def _sums(ins: Instruction, body: Body) -> Pair:
    lanes, pairs = ins.lanes, ins.pairs

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (2 * pairs,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (2, lanes, pairs), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0 : 2 * pairs], B[0:2, 0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            for i, k in T.grid(lanes, pairs):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + product(A[vk], A[vk + pairs], B[0, vi, vk], B[1, vi, vk])

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (2 * pairs,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (2, lanes, pairs), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0 : 2 * pairs], B[0:2, 0:lanes, 0:pairs])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    return description, implementation


def _pixels(ins: Instruction, groups: int, p: int) -> Pair:
    pairs, size = ins.pairs, groups * GROUP

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        C = T.match_buffer(c, (groups,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:groups], A[0:size])
            T.writes(C[0:groups])
            for i, k in T.grid(groups, pairs):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + of_pixel(A[vi * GROUP + vk], A[vi * GROUP + vk + pairs], p)

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        C = T.match_buffer(c, (groups,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:groups], A[0:size])
            T.writes(C[0:groups])
            C[T.ramp(T.int32(0), 1, groups)] = _added(A, C.vload([0], dtype=f"int32x{groups}"), groups, p)

    return description, implementation


def of_pixel(a: Expr, b: Expr, p: int) -> Expr:
    """The `product` with weights of 0."""
    return product(a, b, tirx.const(p, "uint8"), tirx.const(p - SIGN, "int8"))


def _added(A: tirx.Buffer, c: Expr, groups: int, p: int) -> Expr:
    """Both halves of each 8 bytes, as vectors of their own."""
    whole = T.reinterpret(A.vload([0], f"{A.dtype}x{groups * GROUP}"), dtype=f"int64x{groups}")
    halves = [half.astype(f"int32x{groups}") for half in (whole, whole >> T.broadcast(T.int64(32), groups))]
    count = groups * GROUP // 2
    first, second = (
        T.reinterpret(half, dtype=f"int8x{count}") + T.broadcast(T.int8(_wrapped(value)), count)
        for half, value in zip(halves, (p, p - SIGN), strict=True)
    )
    return llvm(f"llvm.x86.avx512.vpdpbusd.{32 * groups}", f"int32x{groups}", c, first, second)


def _wrapped(value: int) -> int:
    """As int8."""
    return (value + SIGN) % (2 * SIGN) - SIGN
