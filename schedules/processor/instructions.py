"""Multiply-accumulate instructions: what they compute, and which one a layer can use.

Every instruction computes, for `lanes` output channels at once,

    C[i] += sum over chain, pair of A[chain * pairs + pair] * B[chain, i, pair]

with int32 (or float32) C. A is one pixel's run of input channels, B a block of packed weights. `chain` products are
added up in int16 first where the instruction works that way, which `choose` and `overflow.longer_chains` prove to fit.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from ..choice.overflow import INT16_MAX
from . import intrinsics, neon
from .ordered import with_chains


@dataclass(frozen=True)
class Instruction:
    """One way to multiply and accumulate.

    Parameters
    ----------
    name : str
        Name of the registered tensor intrinsic; with a chain, of the two that `link` and `widening` name.
    lanes : int
        Output channels per vector.
    pairs : int
        Neighbouring input channels that one lane multiplies and adds.
    chain : int
        Vectors of weights that one use consumes: of products added in int16 before they are widened, where there is an
        int16 step (see `staged`), else of those that share a vector of activations.
    activation, weight : str
        Operand dtypes.
    registers : int
        Vector registers of the machine: bounds the tile of accumulators.
    chained : callable or None
        Makes the same instruction with another chain, where it has an int16 step.
    parts : int
        Lanes that hold partial sums of the same output channel; 1: the lanes are channels, and share activations.
    chains : tuple of int
        Of an instruction in assembly (see `ordered`): the links of each chain that one use consumes, for several
        vectors and pixels together.
    """

    name: str
    lanes: int
    pairs: int
    chain: int
    activation: str
    weight: str
    registers: int = field(compare=False)
    chained: Callable | None = field(compare=False, default=None)
    parts: int = 1
    chains: tuple[int, ...] = ()

    @property
    def links(self):
        """Vectors of weights, for each vector of accumulators, that one use consumes."""
        return sum(self.chains) or self.chain

    @property
    def depth(self):
        """Input channels that one use of the instruction consumes."""
        return self.pairs * self.links * self.parts

    @property
    def channels(self):
        """Output channels of a vector."""
        return self.lanes // self.parts

    @property
    def neon(self):
        """Whether it is one of ARM's, of 128 bits."""
        return self.name.startswith(("eq_tvm.smlal", "eq_tvm.sdot", "eq_tvm.vmlal", "fma_128"))

    @property
    def staged(self):
        """Whether products are added in int16 first, by an intrinsic of its own."""
        return self.chained is not None and (self.chain > 1 or self.parts > 1) and not self.chains

    @property
    def link(self):
        """Name of the tensor intrinsic that multiplies and adds in int16, where there is a chain."""
        return f"{self.name.partition('_x')[0]}_link"

    @property
    def widening(self):
        """Name of the one that adds a chain's int16 sums, two for each lane, to the accumulators."""
        return f"{self.name.partition('_x')[0]}_widen"

    @property
    def weight_shape(self):
        """Shape of the weights that one use of the instruction reads.

        ([chain,] lanes, pairs), or (chain, lanes) for chains of single products, or (chain, parts * pairs) where lanes
        are parts of a channel.
        """
        if self.parts > 1:
            return (self.links, self.parts * self.pairs)
        if self.chain == 1:
            return (self.lanes, self.pairs)
        return (self.chain, self.lanes, self.pairs) if self.pairs > 1 else (self.chain, self.lanes)


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


def forms(instruction):
    """The instruction, and those that multiply and prove alike, but read activations differently."""
    yield instruction
    name = instruction.name.removeprefix("eq_tvm.")
    if name == "sdot":
        yield from (_shared_sdot(4), _shared_sdot(2))
    elif name.startswith("smlal_x") and instruction.chain > 1:  # a link of parts adds up two products
        yield _parted_smlal(instruction.chain // 2)


def choose_int16(features):
    """The fastest instruction that multiplies int16 by int16, or None."""
    return next((make(0, 0, 0)[0] for name, make in _INT16_FAMILIES.items() if name in features), None)


def named(name):
    """The instruction of that name (without "eq_tvm."), such as pmaddubsw_256_x4."""
    base, _, chain = name.partition("_x")
    if base in _NEON:
        return _NEON[base](chain if base == "smlal_ordered" else int(chain)) if chain else _NEON[base]()
    family, _, bits = base.partition("_")
    lanes = int(bits or 128) // 32
    if family == "fma":
        return fma(lanes)
    if chain:
        return _chained_pmaddubsw(lanes, int(chain))
    return {"vpdpbusd": _vpdpbusd, "vpdpwssd": _vpdpwssd, "pmaddwd": _pmaddwd}[family](lanes)(0, 127, 63)[0]


def vector_bits(features):
    """Width of the vector registers of a CPU with these features."""
    if any(name.endswith("-512") for name in features):
        return 512
    return 128 if features & {"sdot", "smlal", "vmlal"} else 256


def fma(lanes, features=()):
    """float32 multiply and add, left to LLVM: no tensor intrinsic."""
    registers = neon.REGISTERS_32 if "vmlal" in features else 2 * lanes if lanes > 4 else 32
    return Instruction(f"fma_{lanes * 32}", lanes, 1, 1, "float32", "float32", registers)


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
        ins = Instruction(f"eq_tvm.vpdpbusd_{lanes * 32}", lanes, 4, 1, "uint8", "int8", 2 * lanes)
        return intrinsics.register(ins, intrinsics.vpdpbusd_body(lanes)), offset

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
    ins = Instruction(
        f"eq_tvm.pmaddubsw_{lanes * 32}_x{chain}",
        lanes,
        4,
        chain,
        "uint8",
        "int8",
        2 * lanes,
        functools.partial(_chained_pmaddubsw, lanes),
    )
    return _registered(ins, intrinsics.pmaddubsw_bodies(lanes))


def _int16(name, body, lanes):
    """int16 times int16 takes every activation and weight."""

    def make(_low, _high, _weight_max):
        ins = Instruction(f"eq_tvm.{name}_{lanes * 32}", lanes, 2, 1, "int16", "int16", 2 * lanes)
        return intrinsics.register(ins, body(lanes)), 0

    return make


_pmaddwd = functools.partial(_int16, "pmaddwd", intrinsics.pmaddwd_body)
_vpdpwssd = functools.partial(_int16, "vpdpwssd", intrinsics.vpdpwssd_body)


def _sdot(low, high, _weight_max):
    offset = _to_signed(low, high)
    if offset is None:
        return None
    ins = Instruction("eq_tvm.sdot", 4, 4, 1, "int8", "int8", 32)
    return intrinsics.register(ins, neon.sdot_body()), offset


def _int8(chained):
    """int8 times int8, with an int16 step after `chain` products."""

    def make(low, high, weight_max):
        offset = _to_signed(low, high)
        if offset is None:
            return None
        largest = max(abs(low + offset), abs(high + offset), 1)
        chain = min(8, INT16_MAX // (largest * weight_max))
        return chained(1 << (chain.bit_length() - 1)), offset  # a power of two divides the usual channel counts

    return make


def _chained_smlal(chain):
    ins = Instruction(f"eq_tvm.smlal_x{chain}", 4, 2, chain, "int8", "int8", 32, _chained_smlal)
    return _registered(ins, neon.smlal_bodies())


def _chained_vmlal(chain):
    ins = Instruction(f"eq_tvm.vmlal_x{chain}", 4, 2, chain, "int8", "int8", neon.REGISTERS_32, _chained_vmlal)
    return _registered(ins, neon.vmlal_bodies())


def _parted_smlal(chain):
    ins = Instruction(f"eq_tvm.smlal_parts_x{chain}", 4, 4, chain, "int8", "int8", 32, _parted_smlal, 4)
    return neon.register_parted(ins, *neon.parted_smlal_bodies())


def _shared_sdot(chain):
    ins = Instruction(f"eq_tvm.sdot_element_x{chain}", 4, 4, chain, "int8", "int8", 32)
    return neon.register_shared(ins, neon.shared_sdot_body(chain))


def _shared_int16():
    """Two registers of accumulators, for the halves of a register of weights."""
    ins = Instruction("eq_tvm.smlal_int16", 8, 1, 8, "int16", "int16", 16)
    return neon.register_shared(ins, neon.shared_int16_body(8, 8))


def _registered(ins, bodies):
    """With an int16 step: the two intrinsics of a chain, or one where there is none."""
    link, widening, both = bodies
    return intrinsics.register_chained(ins, link, widening) if ins.chain > 1 else intrinsics.register(ins, both)


# Fastest first.
_FAMILIES = {
    "vpdpbusd-512": _vpdpbusd(16),
    "vpdpbusd-256": _vpdpbusd(8),
    "pmaddubsw-512": _pmaddubsw(16),
    "pmaddubsw": _pmaddubsw(8),
    "pmaddwd-512": _pmaddwd(16),
    "pmaddwd-256": _pmaddwd(8),
    "sdot": _sdot,
    "smlal": _int8(_chained_smlal),
    "vmlal": _int8(_chained_vmlal),
}


_NEON = {
    "smlal": _chained_smlal,
    "smlal_parts": _parted_smlal,
    "smlal_int16": _shared_int16,
    "smlal_ordered": lambda digits: with_chains(_parted_smlal(1), [int(digit, 36) for digit in digits]),
    "sdot": lambda: _sdot(0, 127, 63)[0],
    "sdot_element": _shared_sdot,
    "vmlal": _chained_vmlal,
}


# A processor that has vpdpbusd has vpdpwssd of the same width.
_INT16_FAMILIES = {
    "vpdpbusd-512": _vpdpwssd(16),
    "vpdpbusd-256": _vpdpwssd(8),
    "pmaddwd-512": _pmaddwd(16),
    "pmaddwd-256": _pmaddwd(8),
    "smlal": lambda *_: (_shared_int16(), 0),
}
