"""Chains of smlal in assembly, for ARM cores that keep the order of instructions.

What LLVM makes of `neon`'s chains waits for loads there: a load alone can't start with a multiplication of 16 bytes,
and nothing is moved past what waits. Here a block of two pixels and four output channels takes a run of input channels
in an order that is written down: weights and activations come four registers at a time, one instruction each, while
those before are multiplied; the addresses that this needs are computed while the first ones are waited for. (Loads of
several registers start beside multiplications in LLVM's model of the Cortex-A53. By the description of it that ARM gave
to GCC, `cortex-a53.md`, they take no longer than those of one or two that LLVM would use.)
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tvm.script import tirx as T

from ..common.inline_assembly import Load, addressed, llvm_function
from .instruction import Instruction
from .intrinsics import Pair
from .registered import registered

LINKS = 32  # at most, for the cache of instructions
BASE_NAME = "smlal_ordered"
VECTORS, TILE = 4, 2  # output channels and pixels: sixteen registers for their sums
GROUP = 4  # registers that an instruction loads
_SUMS, _WEIGHTS, _ACTIVATIONS = 8, 16, 24  # the first of these registers; 0 to 7 are left to LLVM


def with_chains(instruction: Instruction, chains: Sequence[int]) -> Instruction:
    """The instruction, one use of which consumes chains of so many links, for four channels and two pixels together."""
    return replace(instruction, base_name=BASE_NAME, chains=tuple(chains))


def ordered_intrinsic(instruction: Instruction, distance: int, flat: bool, alone: bool) -> str:
    """Name of the tensor intrinsic of such a block.

    Parameters
    ----------
    instruction : Instruction
        One with `chains`.
    distance : int
        From one pixel's activations to the other's: in pixels, or in elements if `flat`.
    flat : bool
        Whether the activations are a row without an axis for the channels.
    alone : bool
        Whether nothing is to be added to: the sums are 0 before, and need not be read.
    """
    name = f"{function_name(instruction, alone)}_{'flat' if flat else 'pixels'}_{distance}"
    make = _flat if flat else _pixels
    return registered(name, make, function_name(instruction, alone), instruction.links, distance)


def function_name(instruction: Instruction, alone: bool) -> str:
    """What the assembly is called in LLVM."""
    return f"eq_tvm_{instruction.name}{'_alone' * alone}"


def ordered_function(instruction: Instruction, alone: bool) -> str:
    """The assembly as a function of LLVM: see `inline_assembly`.

    Its arguments are the addresses of two pixels' activations, of the weights, and of the sums.
    """
    lines = assembly(instruction.chains, alone)
    return llvm_function(function_name(instruction, alone), lines, 3, VECTORS * TILE, alone, range(_SUMS, 32))


def assembly(chains: Sequence[int], alone: bool) -> list[str]:
    """The instructions; $0 to $7 are the sums of both pixels, $8 to $10 the addresses of activations and weights."""
    links, ends = sum(chains), np.cumsum(chains)

    def weights(link: int) -> Load:
        return Load(_WEIGHTS + link % 2 * VECTORS, VECTORS, "16b", "$10", link * VECTORS * 16)

    def activations(pixel: int, link: int) -> Load:
        count = min(GROUP, links - link)
        return Load(_ACTIVATIONS + pixel * GROUP, count, "16b", f"${8 + pixel}", link * 16)

    lines: list[str | Load | None] = [activations(0, 0), weights(0), activations(1, 0), None]
    for link in range(links):
        for half, kind in (("", "8b"), ("2", "16b")):
            multiply = "smull" if not half and link in (0, *ends) else "smlal"
            for pixel in range(TILE):
                lines += [
                    f"{multiply}{half} v{_SUMS + pixel * VECTORS + vector}.8h, "
                    f"v{_ACTIVATIONS + pixel * GROUP + link % GROUP}.{kind}, "
                    f"v{_WEIGHTS + link % 2 * VECTORS + vector}.{kind}"
                    for vector in range(VECTORS)
                ]
                if link + 1 == links:
                    continue
                if (pixel, half) == (0, ""):  # not earlier: these may have to wait for the activations' loads
                    lines.append(weights(link + 1))
                if half and link % GROUP == GROUP - 1:  # hidden by the other pixel's last products and by widening
                    lines.append(activations(pixel, link + 1))
        if link + 1 in ends:
            widen = "saddlp" if alone and link < ends[0] else "sadalp"
            lines += [f"{widen} ${n}.4s, v{_SUMS + n}.8h" for n in range(VECTORS * TILE)]
    return addressed(lines)


def _pixels(name: str, links: int, distance: int) -> Pair:
    rows, depth, lanes = distance * (TILE - 1) + 1, 16 * links, VECTORS * 4

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        s = T.int32()
        A = T.match_buffer(a, (rows, depth), "int8", strides=[s, 1], offset_factor=1)
        B = T.match_buffer(b, (links, VECTORS, 16), "int8", offset_factor=1)
        C = T.match_buffer(c, (TILE, lanes), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:lanes], A[0:rows, 0:depth], B[0:links, 0:VECTORS, 0:16])
            T.writes(C[0:TILE, 0:lanes])
            for w, i, q, h, k in T.grid(TILE, lanes, links, 2, 2):
                with T.sblock("update"):
                    vw, vi, vq, vh, vk = T.axis.remap("SSRRR", [w, i, q, h, k])
                    C[vw, vi] = C[vw, vi] + T.cast(
                        A[vw * distance, vq * 16 + (vh * 8 + vi % 4 * 2 + vk)], "int32"
                    ) * T.cast(B[vq, vi // 4, vh * 8 + vi % 4 * 2 + vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        s = T.int32()
        A = T.match_buffer(a, (rows, depth), "int8", strides=[s, 1], offset_factor=1)
        B = T.match_buffer(b, (links, VECTORS, 16), "int8", offset_factor=1)
        C = T.match_buffer(c, (TILE, lanes), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:lanes], A[0:rows, 0:depth], B[0:links, 0:VECTORS, 0:16])
            T.writes(C[0:TILE, 0:lanes])
            T.evaluate(
                T.call_extern(
                    "void",
                    name,
                    T.address_of(A[0, 0]),
                    T.address_of(A[distance, 0]),
                    T.address_of(B[0, 0, 0]),
                    T.address_of(C[0, 0]),
                )
            )

    return description, implementation


def _flat(name: str, links: int, distance: int) -> Pair:
    depth, lanes = 16 * links, VECTORS * 4
    length = distance * (TILE - 1) + depth

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (length,), "int8", offset_factor=1)
        B = T.match_buffer(b, (links, VECTORS, 16), "int8", offset_factor=1)
        C = T.match_buffer(c, (TILE, lanes), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:lanes], A[0:length], B[0:links, 0:VECTORS, 0:16])
            T.writes(C[0:TILE, 0:lanes])
            for w, i, q, h, k in T.grid(TILE, lanes, links, 2, 2):
                with T.sblock("update"):
                    vw, vi, vq, vh, vk = T.axis.remap("SSRRR", [w, i, q, h, k])
                    C[vw, vi] = C[vw, vi] + T.cast(
                        A[vw * distance + (vq * 16 + (vh * 8 + vi % 4 * 2 + vk))], "int32"
                    ) * T.cast(B[vq, vi // 4, vh * 8 + vi % 4 * 2 + vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (length,), "int8", offset_factor=1)
        B = T.match_buffer(b, (links, VECTORS, 16), "int8", offset_factor=1)
        C = T.match_buffer(c, (TILE, lanes), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:lanes], A[0:length], B[0:links, 0:VECTORS, 0:16])
            T.writes(C[0:TILE, 0:lanes])
            T.evaluate(
                T.call_extern(
                    "void",
                    name,
                    T.address_of(A[0]),
                    T.address_of(A[distance]),
                    T.address_of(B[0, 0, 0]),
                    T.address_of(C[0, 0]),
                )
            )

    return description, implementation
