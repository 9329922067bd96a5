"""The multiply instructions that there are, and which one a processor takes for a layer."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..common.overflow import INT16_MAX
from . import neon, x86
from .instruction import DIGITS, Definition, Instruction, Isa
from .ordered import BASE_NAME, with_chains

# Fastest first, each for whoever has its family. For activations that bytes hold; a wider operand takes what some
# multiplier of bytes does not.
FOR_BYTES: Sequence[Definition] = (*x86.FOR_BYTES, *neon.FOR_BYTES)
FOR_INT16: Sequence[Definition] = (*x86.FOR_INT16, *neon.FOR_INT16)
OF_SUMS: Sequence[Definition] = (*x86.OF_SUMS, *neon.OF_SUMS)


def choose(features: Collection[str], activation_range: tuple[int, int], weight_max: int) -> tuple[Instruction, int]:
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
    definitions = FOR_BYTES if high - low < 2**8 else FOR_INT16
    without_offset = {
        each.instruction.family for each in definitions if _offset(each.instruction.activation, activation_range) == 0
    }
    for definition in definitions:
        instruction = definition.instruction
        offset = _offset(instruction.activation, activation_range)
        if instruction.family not in features or offset is None:
            continue
        if offset and instruction.family in without_offset:
            continue
        low, high = (end + offset for end in activation_range)
        chain = _proven_chain(instruction, max(abs(low), abs(high)), weight_max)
        if chain:
            return _ready(definition, chain), offset
    raise ValueError(f"no multiply instruction is known for a CPU with {', '.join(sorted(features)) or 'nothing'}")


def choices(
    features: Collection[str], activation_range: tuple[int, int], weight_max: int
) -> Iterator[tuple[Instruction, int]]:
    """What `choose` returns, and where that multiplies matrices, the fastest of vectors: few pixels fill no matrix."""
    chosen, offset = choose(features, activation_range, weight_max)
    yield chosen, offset
    if chosen.matrix:
        matrices = {each.instruction.family for each in FOR_BYTES if each.instruction.matrix}
        if vectors := set(features) - matrices:
            yield choose(vectors, activation_range, weight_max)


def of_sums(features: Collection[str], dtype: str) -> Instruction | None:
    """What multiplies sums of weights and activations of that dtype, or None: see `sums`."""
    found = (each for each in OF_SUMS if each.instruction.activation == dtype)
    return next((_ready(each, each.instruction.chain) for each in found if each.instruction.family in features), None)


def passed_over(features: Collection[str], activation_range: tuple[int, int], weight_max: int) -> dict[str, str]:
    """Instructions that the CPU has and `choose` prefers to the one that it takes; of each why it is not taken."""
    chosen, _ = choose(features, activation_range, weight_max)
    low, high = activation_range
    found = {}
    for definition in FOR_BYTES:
        instruction = definition.instruction
        if instruction.base_name == chosen.base_name:
            break
        if instruction.family in features:
            offset = _offset(instruction.activation, activation_range)
            reached = instruction.products * (max(-low, high) + (offset or 0)) * weight_max
            found[instruction.base_name] = (
                f"its operands do not hold activations from {low} to {high}"
                if offset is None
                else "activations would have to be copied, with an offset"
                if instruction.matrix or instruction.pixels > 1
                else f"{instruction.products} products could add up to {reached:,}, beyond {INT16_MAX:,}"
            )
    return found


def choose_int16(features: Collection[str]) -> Instruction | None:
    """The fastest instruction that multiplies int16 by int16, or None."""
    found = (definition for definition in FOR_INT16 if definition.instruction.family in features)
    return next((_ready(definition, definition.instruction.chain) for definition in found), None)


def variants(instruction: Instruction) -> Iterator[Instruction]:
    """The instruction, and those that multiply and prove alike, but read activations differently."""
    yield instruction
    for definition in _DEFINITIONS[instruction.base_name].variants:
        other, chain = definition.instruction, definition.instruction.chain
        if other.int16_step:  # as many products in an int16
            chain = instruction.chain * instruction.products // other.products
        if chain:
            yield _ready(definition, chain)


def named(name: str, features: Collection[str] = ()) -> Instruction:
    """The instruction of a name that a record of kernels has (see `Instruction.name`), such as pmaddubsw_256_x4.

    Parameters
    ----------
    name : str
    features : collection of str
        As `choose` takes them: whose registers a float32 instruction has.
    """
    if name in _FLOAT_LANES:
        return fma(_FLOAT_LANES[name], features)
    if name in _DEFINITIONS:
        definition = _DEFINITIONS[name]
        return _ready(definition, definition.instruction.chain)
    base_name, _, length = name.rpartition("_x")
    if base_name == BASE_NAME:
        return with_chains(neon.SMLAL_PARTS.instruction, [DIGITS.index(digit) for digit in length])
    return _ready(_DEFINITIONS[base_name], int(length))


def fma(lanes: int, features: Collection[str] = ()) -> Instruction:
    """float32 multiply and add, left to LLVM: no tensor intrinsic.

    Parameters
    ----------
    lanes : int
        Of a vector of float32.
    features : collection of str
        As `choose` takes them.
    """
    isa: Isa = "armv7" if "vmlal" in features else "aarch64" if lanes == 4 else "x86"
    registers = {"armv7": neon.REGISTERS_32, "aarch64": neon.REGISTERS, "x86": x86.registers(32 * lanes)}[isa]
    rate = 2.0 if isa == "x86" else 1.0  # vectors in a cycle: both of x86's ports multiply
    return Instruction(f"fma_{32 * lanes}", isa, "", lanes, 1, "float32", "float32", registers, fused=True, rate=rate)


def vector_bits(features: Collection[str]) -> int:
    """Width of the vector registers of a CPU with these features."""
    lanes = (
        each.instruction.lanes
        for each in FOR_BYTES
        if each.instruction.family in features and not each.instruction.matrix
    )
    return 32 * max(lanes, default=8)


def zero(low: int, high: int, bits: int) -> int:
    """What is added to integers of a range to store them: nothing where they are even around 0, or not negative.

    Others become what the multiply instruction wants: bytes without a sign on x86, whose vectors have more than 128
    bits; on ARM signed ones. What bytes don't hold is stored as it is.
    """
    if low >= 0 or -low in (high, high + 1) or high - low >= 2**8:
        return 0
    if bits > 128:
        return -low
    return 0 if low >= -128 and high <= 127 else -128 - low


def _offset(dtype: str, activation_range: tuple[int, int]) -> int | None:
    """The least offset that makes the range fit the operand's dtype, or None where none does."""
    low, high = activation_range
    held = np.iinfo(dtype)
    if dtype == "uint8":
        offset = max(0, -low)
    else:
        offset = 0 if high <= held.max else -128
    return offset if held.min <= low + offset and high + offset <= held.max else None


def _proven_chain(instruction: Instruction, activation_max: int, weight_max: int) -> int:
    """The longest chain whose int16 sums fit whatever the weights; 0 where a single link might not."""
    if not instruction.int16_step:
        return instruction.chain
    most = INT16_MAX // (instruction.products * max(activation_max, 1) * max(weight_max, 1))
    return max((length for length in instruction.lengths if length <= most), default=0)


def _ready(definition: Definition, chain: int) -> Instruction:
    """The instruction with a chain of this length, once there are its tensor intrinsics."""
    definition.register(definition.instruction)
    return replace(definition.instruction, chain=chain)


_DEFINITIONS = {
    each.instruction.base_name: each
    for definition in (*FOR_BYTES, *FOR_INT16, *OF_SUMS)
    for each in (definition, *definition.variants)
}
_FLOAT_LANES = {f"fma_{32 * lanes}": lanes for lanes in (4, 8, 16)}
