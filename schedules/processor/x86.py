"""x86's multiply instructions, in vectors of 256 and 512 bits: the record of each, and its words in LLVM's language.

To add one, define it here and put it where it belongs in `FOR_BYTES` or `FOR_INT16`; ``targets.yaml`` says who has it,
and `eq_tvm.host` what a processor needs to have for it.
"""

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .amx import tdpb
from .instruction import Definition, Instruction
from .intrinsics import Expr, chained, llvm, multiplying, spread
from .sums import multiplying_sums

_PMADDWD = {256: "llvm.x86.avx2.pmadd.wd", 512: "llvm.x86.avx512.pmaddw.d.512"}
_PMADDUBSW = {256: "llvm.x86.avx2.pmadd.ub.sw", 512: "llvm.x86.avx512.pmaddubs.w.512"}


def registers(bits: int) -> int:
    """Vector registers of a processor whose vectors have so many bits."""
    return 32 if bits == 512 else 16


def vpdpbusd(bits: int) -> Definition:
    """Four products of bytes and their sum, in one instruction."""
    lanes = bits // 32

    def body(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
        # LLVM 22 takes the byte operands of vpdpbusd as vectors of i8.
        b = B.vload([0, 0], f"int8x{lanes * 4}")
        return llvm(f"llvm.x86.avx512.vpdpbusd.{bits}", f"int32x{lanes}", c, spread(A, 0, 4, "uint8", lanes), b)

    return Definition(
        Instruction(
            f"vpdpbusd_{bits}", "x86", f"vpdpbusd-{bits}", lanes, 4, "uint8", "int8", registers(bits), fused=True
        ),
        multiplying(body),
    )


def of_sums(activation: str, name: str, rate: float) -> Definition:
    """Four products of sums of bytes, or two of int16, which are worth twice as many: see `sums`.

    Parameters
    ----------
    activation : str
        The dtype that is read.
    name : str
        The instruction's.
    rate : float
        See `Instruction`.
    """
    bits, lanes, weight = 512, 16, "int16" if activation == "int16" else "int8"
    pairs = 4 // np.dtype(weight).itemsize

    def body(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
        vector = f"{weight}x{pairs * lanes}"
        first, second = (
            T.reinterpret(spread(A, pairs * half, pairs, activation, lanes), dtype=vector)
            + B.vload([half, 0, 0], vector)
            for half in (0, 1)
        )
        return llvm(f"llvm.x86.avx512.{name}.{bits}", f"int32x{lanes}", c, first, second)

    return Definition(
        Instruction(
            f"{name}_sums_{bits}{'_signed' * (activation == 'int8')}",
            "x86",
            f"vpdpbusd-sums-{bits}",
            lanes,
            pairs,
            activation,
            weight,
            registers(bits),
            chain=2,
            fused=True,
            sums=True,
            rate=rate,
        ),
        multiplying_sums(body),
    )


def pmaddubsw(bits: int, family: str) -> Definition:
    """Two products of bytes and their sum, saturated to int16; pmaddwd by ones widens."""
    lanes = bits // 32

    def multiply(A: tirx.Buffer, B: tirx.Buffer) -> Expr:
        a, b = spread(A, 0, 4, "uint8", lanes), B.vload([0, 0], f"int8x{4 * lanes}")
        return llvm(_PMADDUBSW[bits], f"int16x{2 * lanes}", a, b)

    def widen(sums: Expr, c: Expr) -> Expr:
        return c + llvm(_PMADDWD[bits], f"int32x{lanes}", sums, T.broadcast(T.int16(1), 2 * lanes))

    return Definition(
        Instruction(
            f"pmaddubsw_{bits}", "x86", family, lanes, 4, "uint8", "int8", registers(bits), lengths=(1, 2, 3, 4)
        ),
        chained(multiply, widen),
    )


def pmaddwd(bits: int) -> Definition:
    """Two products of int16 and their sum: takes every activation and weight of bytes."""
    lanes = bits // 32

    def body(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
        a, b = spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}")
        return c + llvm(_PMADDWD[bits], f"int32x{lanes}", a, b)

    return Definition(
        Instruction(f"pmaddwd_{bits}", "x86", f"pmaddwd-{bits}", lanes, 2, "int16", "int16", registers(bits)),
        multiplying(body),
    )


def vpdpwssd(bits: int) -> Definition:
    """Two products of int16 and their sum, in one instruction, which every processor with vpdpbusd has."""
    lanes = bits // 32

    def body(A: tirx.Buffer, B: tirx.Buffer, c: Expr) -> Expr:
        a, b = spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}")
        return llvm(f"llvm.x86.avx512.vpdpwssd.{bits}", f"int32x{lanes}", c, a, b)

    return Definition(
        Instruction(
            f"vpdpwssd_{bits}",
            "x86",
            f"vpdpbusd-{bits}",
            lanes,
            2,
            "int16",
            "int16",
            registers(bits),
            fused=True,
            rate=0.5,  # 16 bits for 8
        ),
        multiplying(body),
    )


PMADDWD_512, PMADDWD_256 = pmaddwd(512), pmaddwd(256)

# Fastest first.
FOR_BYTES = (
    tdpb("tdpbusd_tile", "tdpbusd-tile", registers(512), "uint8"),
    tdpb("tdpbssd_tile", "tdpbusd-tile", registers(512), "int8"),
    tdpb("tdpbusd_tile_256", "tdpbusd-tile-256", registers(256), "uint8"),
    tdpb("tdpbssd_tile_256", "tdpbusd-tile-256", registers(256), "int8"),
    vpdpbusd(512),
    vpdpbusd(256),
    pmaddubsw(512, "pmaddubsw-512"),
    pmaddubsw(256, "pmaddubsw"),
    PMADDWD_512,
    PMADDWD_256,
)
FOR_INT16 = (vpdpwssd(512), vpdpwssd(256), PMADDWD_512, PMADDWD_256)
OF_SUMS = (
    of_sums("uint8", "vpdpbusd", 1.0),
    of_sums("int8", "vpdpbusd", 1.0),
    of_sums("int16", "vpdpwssd", 0.5),  # 16 bits for 8
)
