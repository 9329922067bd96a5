"""Multiply-accumulate instructions as TIR tensor intrinsics: the kinds that `instruction` describes.

Each is a description, plain arithmetic for TVM to recognize, and an implementation around a vector operation, which
comes from where the instruction is defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .instruction import Instruction
from .registered import registered

Expr: TypeAlias = tirx.Expr
Register: TypeAlias = Callable[[Instruction], object]
Pair: TypeAlias = tuple[tirx.PrimFunc, tirx.PrimFunc]  # description, implementation
Body: TypeAlias = Callable[[tirx.Buffer, tirx.Buffer, Expr], Expr]  # of activations and weights, and what to add to
Widen: TypeAlias = Callable[[Expr, Expr], Expr]  # of int16 sums, and what to add to


def multiplying(body: Body) -> Register:
    """The intrinsic C[i] += A . B[i].

    Parameters
    ----------
    body : callable (A, B, c)
        The new vector of int32 accumulators, with products of the buffers of activations (pairs,) and of weights
        (lanes, pairs) added to `c`.
    """
    return lambda ins: registered(f"eq_tvm.{ins.base_name}", _multiply, ins, body)


def chained(multiply: Callable[[tirx.Buffer, tirx.Buffer], Expr], widen: Widen) -> Register:
    """The two intrinsics of an instruction with an int16 step, for all its chains, and one for what is no chain.

    Parameters
    ----------
    multiply : callable (A, B)
        A vector of int16 sums, two for each lane, of the operands that `multiplying` describes.
    widen : callable (sums, c)
        The new vector of int32 accumulators, with such sums added to `c`.
    """

    def register(ins: Instruction) -> None:
        registered(ins.link, _link, ins, lambda A, B, c: c + multiply(A, B))
        registered(f"eq_tvm.{ins.base_name}_widen", _widen, ins, widen)
        registered(f"eq_tvm.{ins.base_name}", _multiply, ins, lambda A, B, c: widen(multiply(A, B), c))

    return register


def parted(body: Body, widen: Widen) -> Register:
    """The two intrinsics of one whose lanes hold partial sums of a channel.

    Parameters
    ----------
    body : callable (A, B, c)
        The new vector of int16 sums; both operands have lanes_per_channel * pairs elements, all of a link.
    widen : callable (sums, c)
        As for `chained`.
    """

    def register(ins: Instruction) -> None:
        registered(ins.link, _link_of_parts, ins, body)
        registered(f"eq_tvm.{ins.base_name}_widen", _widen, ins, widen)

    return register


def shared(body: Body) -> Register:
    """The intrinsic of `chain` vectors of weights that share a vector of activations.

    Parameters
    ----------
    body : callable (A, B, c)
        As for `multiplying`, with activations (chain * pairs,) and weights (chain, lanes, pairs), (chain, lanes) where
        there are no pairs.
    """
    return lambda ins: registered(f"eq_tvm.{ins.base_name}", _shared if ins.pairs > 1 else _shared_single, ins, body)


def llvm(name: str, dtype: str, *args: Expr) -> Expr:
    """A call of one of LLVM's intrinsics without side effects."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def spread(A: tirx.Buffer, at: int, count: int, dtype: str, times: int) -> Expr:
    """`count` neighbouring activations from A[at], repeated `times` times in a vector register."""
    size = np.dtype(dtype).itemsize
    group = T.reinterpret(A.vload([at], f"{dtype}x{count}"), dtype=f"int{8 * size * count}")
    return T.reinterpret(T.broadcast(group, times), dtype=f"int{8 * size}x{count * times}")


# The accumulators' scope must be "local" in both halves: a "global" buffer above 1 KiB is put on the heap.


def _multiply(ins: Instruction, body: Body) -> Pair:
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


def _link(ins: Instruction, body: Body) -> Pair:
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


def _widen(ins: Instruction, body: Widen) -> Pair:
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


def _link_of_parts(ins: Instruction, body: Body) -> Pair:
    """Lanes hold partial sums of a channel: both operands have all of a link, in two halves of a register."""
    lanes, size = ins.lanes, ins.lanes_per_channel * ins.pairs

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


def _shared(ins: Instruction, body: Body) -> Pair:
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


def _shared_single(ins: Instruction, body: Body) -> Pair:
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
