"""Instructions that multiply sums of activations and weights, which takes half as many products.

Winograd (IEEE Transactions on Computers C-17, 1968, "A New Algorithm for Inner Product") multiplies two channels'
activations a, b by their weights v, w at once:

    (a + w) (b + v) = a v + b w + a b + v w

a b is the same for all output channels, and v w for all pixels. So an addition takes the place of a multiplication: of
bytes it is exact where 8 bits hold the sums, as they do of INT7. It pays where a processor adds beside it, as AMD's do.

The first sum has no sign. What is added for that, and to have the second one in the range of int8, is part of the
weights: v and w are stored with offsets, p + w for the first activation and p - 128 + v for the second. Sums of int16
both have a sign, and need none of this.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .instruction import Instruction
from .intrinsics import Body, Expr, Pair, Register, llvm
from .registered import registered

SIGN = 128  # less for the second sum
QUADS = (8, 4)  # groups, of 8 bytes each, in a vector: the most first


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


def product(dtype: str, a: Expr, b: Expr, first: Expr, second: Expr) -> Expr:
    """(a + first) times (b + second) as int32, with weights of that dtype: of bytes the first sum has no sign."""
    operands = zip((a, b), (first, second), _TYPES[dtype], strict=True)
    sums = (x.astype(each) + y.astype(each) for x, y, each in operands)
    one, other = (each.astype("int32") for each in sums)
    return one * other


_TYPES = {"int8": ("uint8", "int8"), "int16": ("int16", "int16")}  # of the sums, by that of weights


def multiplying_sums(body: Body) -> Register:
    """The intrinsic C[i] += sum over pair of `product` of A[pair], A[4 + pair], B[0, i, pair] and B[1, i, pair].

    Parameters
    ----------
    body : callable (A, B, c)
        As for `intrinsics.multiplying`.
    """
    return lambda ins: registered(f"eq_tvm.{ins.base_name}", _sums if ins.pairs > 1 else _single, ins, body)


def of_pixels(ins: Instruction, groups: int, p: int = 0) -> str:
    """Name of the intrinsic that adds what a pixel has by itself, as if of weights of 0: C[i] += a b, with offsets.

    Parameters
    ----------
    ins : Instruction
        Whose activations, those of groups * 8 bytes, are multiplied.
    groups : int
        One of `QUADS`: elements of C.
    p : int
        See `offset`; of bytes.
    """
    return registered(f"eq_tvm.{ins.base_name}_pixels_{groups}_{p}", partial(_pixels, p=p), ins, groups)


def _sums(ins: Instruction, body: Body) -> Pair:
    lanes, pairs, b_dtype = ins.lanes, ins.pairs, ins.weight

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
                    C[vi] = C[vi] + product(b_dtype, A[vk], A[vk + pairs], B[0, vi, vk], B[1, vi, vk])

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


def _single(ins: Instruction, body: Body) -> Pair:
    """Of one product for each lane: an axis of extent 1 vanishes from a block."""
    lanes, b_dtype = ins.lanes, ins.weight

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (2,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (2, lanes), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:2], B[0:2, 0:lanes])
            T.writes(C[0:lanes])
            for i in T.serial(lanes):
                with T.sblock("update"):
                    vi = T.axis.spatial(lanes, i)
                    C[vi] = C[vi] + product(b_dtype, A[0], A[1], B[0, vi], B[1, vi])

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (2,), ins.activation, offset_factor=1)
        B = T.match_buffer(b, (2, lanes), ins.weight, offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:2], B[0:2, 0:lanes])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(A, B, C.vload([0], dtype=f"int32x{lanes}"))

    return description, implementation


def _pixels(ins: Instruction, groups: int, p: int) -> Pair:
    if ins.pairs == 1:
        return _single_pixels(ins, groups)
    pairs, size, depth, b_dtype = ins.pairs, groups * ins.depth, ins.depth, ins.weight

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
                    C[vi] = C[vi] + of_pixel(b_dtype, A[vi * depth + vk], A[vi * depth + vk + pairs], p)

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        C = T.match_buffer(c, (groups,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:groups], A[0:size])
            T.writes(C[0:groups])
            C[T.ramp(T.int32(0), 1, groups)] = _added(A, C.vload([0], dtype=f"int32x{groups}"), groups, p)

    return description, implementation


def _single_pixels(ins: Instruction, groups: int) -> Pair:
    """Of ARM's: neighbours multiply each other."""
    size, b_dtype = 2 * groups, ins.weight

    def neighbours(A: tirx.Buffer, c: Expr) -> Expr:
        both = T.reinterpret(A.vload([0], f"int16x{size}"), dtype=f"int32x{groups}")
        halves = [half.astype(f"int16x{groups}") for half in (both, both >> T.broadcast(T.int32(16), groups))]
        one, other = (half.astype(f"int32x{groups}") for half in halves)
        return c + one * other

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        C = T.match_buffer(c, (groups,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:groups], A[0:size])
            T.writes(C[0:groups])
            for i in T.serial(groups):
                with T.sblock("update"):
                    vi = T.axis.spatial(groups, i)
                    C[vi] = C[vi] + of_pixel(b_dtype, A[vi * 2], A[vi * 2 + 1])

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (size,), ins.activation, offset_factor=1)
        C = T.match_buffer(c, (groups,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:groups], A[0:size])
            T.writes(C[0:groups])
            C[T.ramp(T.int32(0), 1, groups)] = neighbours(A, C.vload([0], dtype=f"int32x{groups}"))

    return description, implementation


def of_pixel(dtype: str, a: Expr, b: Expr, p: int = 0) -> Expr:
    """The `product` with weights of 0."""
    first, second = _offsets(dtype, p)
    return product(dtype, a, b, tirx.const(first, _TYPES[dtype][0]), tirx.const(second, dtype))


def _added(A: tirx.Buffer, c: Expr, groups: int, p: int) -> Expr:
    """Both halves of each 8 bytes, as vectors of their own."""
    dtype = "int16" if str(A.dtype) == "int16" else "int8"
    count = 8 // np.dtype(dtype).itemsize * groups
    whole = T.reinterpret(A.vload([0], f"{A.dtype}x{count}"), dtype=f"int64x{groups}")
    halves = [half.astype(f"int32x{groups}") for half in (whole, whole >> T.broadcast(T.int64(32), groups))]
    first, second = (
        T.reinterpret(half, dtype=f"{dtype}x{count // 2}") + T.broadcast(tirx.const(_wrapped(value), dtype), count // 2)
        for half, value in zip(halves, _offsets(dtype, p), strict=True)
    )
    name = "vpdpwssd" if dtype == "int16" else "vpdpbusd"
    return llvm(f"llvm.x86.avx512.{name}.{32 * groups}", f"int32x{groups}", c, first, second)


def _offsets(dtype: str, p: int) -> tuple[int, int]:
    return (0, 0) if dtype == "int16" else (p, p - SIGN)


def _wrapped(value: int) -> int:
    """As int8."""
    return (value + SIGN) % (2 * SIGN) - SIGN
