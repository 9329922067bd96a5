"""Multiply-accumulate instructions as TIR tensor intrinsics, apart from the schedules that use them.

Every instruction computes, for `lanes` output channels at once,

    C[i] += sum over chain, pair of A[chain * pairs + pair] * B[chain, i, pair]

with int32 (or float32) C. A is one pixel's run of input channels, B a block of packed weights. `chain` products
are added up in int16 first where the instruction works that way; `max_product` is the proof obligation.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

INT16_MAX = 2**15 - 1
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Instruction:
    """One way to multiply and accumulate.

    Parameters
    ----------
    name : str
        Name of the registered tensor intrinsic.
    lanes : int
        Output channels per vector.
    pairs : int
        Neighbouring input channels that one lane multiplies and adds.
    chain : int
        Vectors of products added in int16 before they are widened (1: no int16 step).
    activation, weight : str
        Operand dtypes.
    registers : int
        Vector registers of the machine: bounds the tile of accumulators.
    chained : callable or None
        Makes the same instruction with another chain, where it has an int16 step.
    """

    name: str
    lanes: int
    pairs: int
    chain: int
    activation: str
    weight: str
    registers: int = field(compare=False)
    chained: Callable | None = field(compare=False, default=None)

    @property
    def depth(self):
        """Input channels that one use of the instruction consumes."""
        return self.pairs * self.chain

    @property
    def weight_shape(self):
        """Shape of the weights that one use of the instruction reads: ([chain,] lanes, pairs)."""
        return (self.chain, self.lanes, self.pairs) if self.chain > 1 else (self.lanes, self.pairs)


def choose(features, activation_range, weight_max):
    """The fastest instruction whose int16 step provably holds for these ranges.

    Parameters
    ----------
    features : collection of str
        What the CPU has: keys of ``targets.yaml``'s ``instructions``.
    activation_range : (int, int)
        Least and greatest activation.
    weight_max : int
        Greatest absolute weight.

    Returns
    -------
    instruction : Instruction
    offset : int
        To be added to each activation so that it fits the operand's dtype; the caller folds
        ``-offset * sum(weights)`` into the bias.

    Raises
    ------
    ValueError
        If the CPU has none of the instructions.
    """
    low, high = activation_range
    for name, make in _FAMILIES.items():
        if name not in features:
            continue
        found = make(low, high, max(weight_max, 1))
        if found:
            return found
    raise ValueError(f"no multiply instruction is known for a CPU with {', '.join(sorted(features)) or 'nothing'}")


def longer_chains(instruction, packed, activation_range):
    """The same instruction with every longer chain whose int16 sums provably fit, for a layer's actual weights.

    Parameters
    ----------
    instruction : Instruction
        As `choose` found it from the greatest weight alone.
    packed : callable
        Takes an instruction and returns the weights as it would read them: axes (..., chain, lane, pair).
    activation_range : (int, int)
        Least and greatest activation as the instruction reads it, offset included.

    Notes
    -----
    An int16 lane adds up `chain` neighbours along that axis, and pmaddubsw two products before that. The greatest sum
    has the positive weights at the upper end of the range and the negative ones at the lower; the least the reverse.
    """
    if instruction.chained is None:
        return
    for chain in (2, 4, 8):
        if chain <= instruction.chain:
            continue
        longer = instruction.chained(chain)
        w = packed(longer).astype("int32")
        if longer.pairs == 4:  # two int16 lanes for each int32 lane
            w = np.moveaxis(w.reshape(*w.shape[:-1], 2, 2), -1, -4)
            axes = (-4, -3)
        else:
            axes = (-3,)
        ends = np.stack([w * end for end in activation_range])
        if ends.max(0).sum(axes).max() <= INT16_MAX and ends.min(0).sum(axes).min() >= -INT16_MAX:
            yield longer


def choose_int16(features):
    """The fastest instruction that multiplies int16 by int16, or None."""
    return next((make(0, 0, 0)[0] for name, make in _INT16_FAMILIES.items() if name in features), None)


def named(name):
    """The instruction of that name (without "eq_tvm."), such as pmaddubsw_256_x4."""
    base, _, chain = name.partition("_x")
    family, _, bits = base.partition("_")
    lanes = int(bits or 128) // 32
    if family == "fma":
        return fma(lanes)
    if chain:
        return _chained_smlal(int(chain)) if family == "smlal" else _chained_pmaddubsw(lanes, int(chain))
    if family == "sdot":
        return _sdot(0, 127, 63)[0]
    return {"vpdpbusd": _vpdpbusd, "vpdpwssd": _vpdpwssd, "pmaddwd": _pmaddwd}[family](lanes)(0, 127, 63)[0]


def vector_bits(features):
    """Width of the vector registers of a CPU with these features."""
    if any(name.endswith("-512") for name in features):
        return 512
    return 128 if features & {"sdot", "smlal"} else 256


def folded_bias(weight, bias, activation_range, offset):
    """The int32 bias that also takes back `offset`, once it is proven that no accumulator overflows.

    Parameters
    ----------
    weight : numpy.ndarray
        int8, output channels first.
    bias : numpy.ndarray
        int32, one for each output channel.
    activation_range : (int, int)
    offset : int
        What was added to each activation.

    Raises
    ------
    ValueError
        If some accumulator could leave int32 in the worst case.
    """
    worst = worst_accumulators(weight, bias, activation_range)
    if worst.max(initial=0) > INT32_MAX:
        channel = int(worst.argmax())
        raise ValueError(f"output channel {channel}: its accumulator could reach {worst[channel]}, beyond 32 bits")
    sums = weight.reshape(weight.shape[0], -1).sum(1, dtype="int64")
    return (bias - offset * sums).astype("int32")  # may wrap: the accumulator wraps back


def worst_accumulators(weight, bias, activation_range):
    """Greatest magnitude (int64) that each output channel's accumulator can reach, bias included.

    Parameters
    ----------
    weight : numpy.ndarray
        int8, output channels first.
    bias : numpy.ndarray
        int32, one for each output channel.
    activation_range : (int, int)
    """
    w = weight.reshape(weight.shape[0], -1).astype("int64")
    ends = np.stack([w * end for end in activation_range])
    return np.maximum(ends.max(0).sum(1) + bias, -(ends.min(0).sum(1) + bias))


def fma(lanes):
    """float32 multiply and add, left to LLVM: no tensor intrinsic."""
    return Instruction(f"fma_{lanes * 32}", lanes, 1, 1, "float32", "float32", 2 * lanes if lanes > 4 else 32)


def _to_unsigned(low, high):
    """The least offset that makes the range non-negative, or None where it then leaves uint8."""
    offset = max(0, -low)
    return offset if high + offset <= 255 else None


def _to_signed(low, high):
    offset = 0 if high <= 127 else -128
    return offset if low + offset >= -128 else None


def _vpdpbusd(lanes):
    def make(low, high, _weight_max):
        offset = _to_unsigned(low, high)
        if offset is None:
            return None
        return _register(Instruction(f"eq_tvm.vpdpbusd_{lanes * 32}", lanes, 4, 1, "uint8", "int8", 2 * lanes),
                         _vpdpbusd_body(lanes)), offset
    return make


def _pmaddubsw(lanes):
    def make(low, high, weight_max):
        offset = _to_unsigned(low, high)
        if offset is None:
            return None
        chain = min(4, INT16_MAX // (2 * max(high + offset, 1) * weight_max))
        if chain < 1:
            return None  # one instruction alone may saturate
        return _chained_pmaddubsw(lanes, chain), offset
    return make


def _chained_pmaddubsw(lanes, chain):
    return _register(Instruction(f"eq_tvm.pmaddubsw_{lanes * 32}_x{chain}", lanes, 4, chain, "uint8", "int8", 2 * lanes,
                                 functools.partial(_chained_pmaddubsw, lanes)), _pmaddubsw_body(lanes, chain))


def _pmaddwd(lanes):
    def make(_low, _high, _weight_max):
        return _register(Instruction(f"eq_tvm.pmaddwd_{lanes * 32}", lanes, 2, 1, "int16", "int16", 2 * lanes),
                         _pmaddwd_body(lanes)), 0
    return make


def _vpdpwssd(lanes):
    def make(_low, _high, _weight_max):
        return _register(Instruction(f"eq_tvm.vpdpwssd_{lanes * 32}", lanes, 2, 1, "int16", "int16", 2 * lanes),
                         _vpdpwssd_body(lanes)), 0
    return make


def _sdot(low, high, _weight_max):
    offset = _to_signed(low, high)
    if offset is None:
        return None
    return _register(Instruction("eq_tvm.sdot", 4, 4, 1, "int8", "int8", 32), _sdot_body()), offset


def _smlal(low, high, weight_max):
    offset = _to_signed(low, high)
    if offset is None:
        return None
    largest = max(abs(low + offset), abs(high + offset), 1)
    chain = min(8, INT16_MAX // (largest * weight_max))
    chain = 1 << (chain.bit_length() - 1)  # a power of two divides the usual channel counts
    return _chained_smlal(chain), offset


def _chained_smlal(chain):
    return _register(Instruction(f"eq_tvm.smlal_x{chain}", 4, 2, chain, "int8", "int8", 32, _chained_smlal),
                     _smlal_body(chain))


# Fastest first.
_FAMILIES = {
    "vpdpbusd-512": _vpdpbusd(16),
    "vpdpbusd-256": _vpdpbusd(8),
    "pmaddubsw-512": _pmaddubsw(16),
    "pmaddubsw": _pmaddubsw(8),
    "pmaddwd-512": _pmaddwd(16),
    "pmaddwd-256": _pmaddwd(8),
    "sdot": _sdot,
    "smlal": _smlal,
}


# A processor that has vpdpbusd has vpdpwssd of the same width.
_INT16_FAMILIES = {
    "vpdpbusd-512": _vpdpwssd(16),
    "vpdpbusd-256": _vpdpwssd(8),
    "pmaddwd-512": _pmaddwd(16),
    "pmaddwd-256": _pmaddwd(8),
}


def _register(instruction, body):
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


def _llvm(name, dtype, *args):
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def _spread(A, at, count, dtype, times):
    """`count` neighbouring activations from A[at], repeated `times` times in a vector register."""
    bits = count * int(dtype.removeprefix("u").removeprefix("int"))
    group = T.reinterpret(A.vload([at], f"{dtype}x{count}"), dtype=f"int{bits}")
    return T.reinterpret(T.broadcast(group, times), dtype=f"{dtype.removeprefix('u')}x{count * times}")


def _link(B, j, dtype):
    """The weights of the chain's link `j`."""
    return B.vload([j, 0, 0] if len(B.shape) == 3 else [0, 0], dtype)


def _vpdpbusd_body(lanes):
    # LLVM 22 takes the byte operands of vpdpbusd as vectors of i8.
    def body(A, B, c):
        a = _spread(A, 0, 4, "uint8", lanes)
        return _llvm(f"llvm.x86.avx512.vpdpbusd.{lanes * 32}", f"int32x{lanes}",
                     c, a, B.vload([0, 0], f"int8x{lanes * 4}"))
    return body


def _pmaddubsw_body(lanes, chain):
    multiply, widen = {
        8: ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"),
        16: ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")}[lanes]

    def body(A, B, c):
        total = None
        for j in range(chain):
            product = _llvm(multiply, f"int16x{2 * lanes}",
                            _spread(A, 4 * j, 4, "uint8", lanes), _link(B, j, f"int8x{4 * lanes}"))
            total = product if total is None else total + product
        return c + _llvm(widen, f"int32x{lanes}", total, T.broadcast(T.int16(1), 2 * lanes))
    return body


def _pmaddwd_body(lanes):
    name = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[lanes]

    def body(A, B, c):
        return c + _llvm(name, f"int32x{lanes}",
                         _spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}"))
    return body


def _vpdpwssd_body(lanes):
    def body(A, B, c):
        return _llvm(f"llvm.x86.avx512.vpdpwssd.{lanes * 32}", f"int32x{lanes}",
                     c, _spread(A, 0, 2, "int16", lanes), B.vload([0, 0], f"int16x{lanes * 2}"))
    return body


def _sdot_body():
    def body(A, B, c):
        return _llvm("llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4",
                     c, _spread(A, 0, 4, "int8", 4), B.vload([0, 0], "int8x16"))
    return body


def _smlal_body(chain):
    # LLVM fuses smull + add into smlal, and saddlp + add into sadalp.
    def body(A, B, c):
        total = None
        for j in range(chain):
            product = _llvm("llvm.aarch64.neon.smull.v8i16", "int16x8",
                            _spread(A, 2 * j, 2, "int8", 4), _link(B, j, "int8x8"))
            total = product if total is None else total + product
        return c + _llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", total)
    return body
