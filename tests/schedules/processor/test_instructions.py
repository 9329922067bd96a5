"""The choice of a multiply instruction: the proof that its int16 step holds."""

import numpy as np
import pytest
from families import FAMILIES, OF_SUMS, OF_SUMS_ON_ARM
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm import host
from eq_tvm.schedules.common.overflow import INT16_MAX
from eq_tvm.schedules.processor import instructions
from eq_tvm.schedules.processor.instructions import FOR_BYTES, choose, choose_int16, fma, named, variants, vector_bits

LONGEST = {"pmaddubsw": 4, "smlal": 8, "vmlal": 8}  # links of a chain that there are kernels for
LINKS = {"pmaddubsw": 2, "smlal": 1, "vmlal": 1}  # products that one link adds up in an int16
RANGES = st.one_of(  # what int8 or uint8 holds
    st.tuples(st.integers(-128, 0), st.integers(0, 127)), st.tuples(st.just(0), st.integers(128, 255))
)


def offset_range(activation_range, offset):
    low, high = activation_range
    return low + offset, high + offset


@given(st.sampled_from(sorted(FAMILIES)), RANGES, st.integers(0, 127))
@settings(max_examples=500)
def test_the_chosen_instruction_holds(name, inputs, limit):
    """The offset makes the range fit the operand; an int16 holds the chain, and not a longer one."""
    chosen, offset = choose(FAMILIES[name].features, inputs, limit)
    low, high = offset_range(inputs, offset)
    held = np.iinfo(chosen.activation)
    assert held.min <= low and high <= held.max
    kind = chosen.family.split("-")[0]
    if kind not in LONGEST:
        assert chosen.chain == (16 if chosen.matrix else 1)
        return
    product = max(-low, high, 1) * max(limit, 1)
    worst = chosen.chain * LINKS[kind] * product
    assert worst <= INT16_MAX
    if kind in ("smlal", "vmlal"):  # powers of two only
        assert 2 * worst > INT16_MAX or chosen.chain == LONGEST[kind]
    else:
        assert worst + 2 * product > INT16_MAX or chosen.chain == LONGEST[kind]


@pytest.mark.parametrize(
    "name, inputs, limit, instruction, offset",
    [
        ("pmaddubsw", (0, 127), 63, "pmaddubsw_256_x2", 0),
        ("pmaddubsw", (-63, 63), 63, "pmaddubsw_256_x2", 63),
        ("pmaddubsw", (0, 63), 63, "pmaddubsw_256_x4", 0),
        ("pmaddubsw", (0, 255), 63, "pmaddubsw_256_x1", 0),
        ("pmaddubsw", (0, 127), 127, "pmaddubsw_256_x1", 0),
        ("pmaddubsw", (0, 255), 127, "pmaddwd_256", 0),  # pmaddubsw itself would saturate
        ("pmaddubsw", (-127, 127), 127, "pmaddwd_256", 0),
        ("pmaddubsw", (0, 63), 31, "pmaddubsw_256_x4", 0),
        ("pmaddubsw", (-63, 63), 31, "pmaddubsw_256_x4", 63),
        ("pmaddubsw", (-31, 31), 31, "pmaddubsw_256_x4", 31),
        ("smlal", (0, 63), 31, "smlal_x8", 0),
        ("vmlal", (-63, 63), 31, "vmlal_x8", 0),
        ("vmlal", (-31, 31), 31, "vmlal_x8", 0),
        ("smlal", (-63, 63), 63, "smlal_x8", 0),
        ("smlal", (0, 127), 63, "smlal_x4", 0),
        ("smlal", (-127, 127), 127, "smlal_x2", 0),
        ("smlal", (-128, 127), 127, "smlal_x2", 0),
        ("smlal", (0, 255), 127, "smlal_x2", -128),
        ("vmlal", (0, 127), 63, "vmlal_x4", 0),
        ("vmlal", (0, 255), 127, "vmlal_x2", -128),
        ("sdot", (-127, 127), 127, "sdot", 0),
        ("sdot", (0, 255), 127, "sdot", -128),
        ("smmla", (0, 255), 127, "usmmla", 0),
        ("smmla", (0, 127), 63, "usmmla", 0),
        ("smmla", (-127, 127), 127, "smmla", 0),
        ("smmla", (-1, 130), 127, "usmmla", 1),
        ("vpdpbusd-512", (0, 255), 127, "vpdpbusd_512", 0),
        ("vpdpbusd-512", (-128, 127), 127, "vpdpbusd_512", 128),
        ("vpdpbusd-256", (-63, 63), 63, "vpdpbusd_256", 63),
        ("pmaddwd-512", (-127, 127), 127, "pmaddwd_512", 0),
        ("pmaddubsw-512", (-63, 63), 63, "pmaddubsw_512_x2", 63),
        ("pmaddubsw-512", (0, 255), 127, "pmaddwd_512", 0),
    ],
)
def test_choices(name, inputs, limit, instruction, offset):
    chosen, got = choose(FAMILIES[name].features, inputs, limit)
    assert (chosen.name, got) == (instruction, offset)
    assert chosen.lanes * 32 == FAMILIES[name].bits


@pytest.mark.parametrize(
    "features, name",
    [
        ({"vpdpbusd-512", "pmaddwd-512"}, "vpdpwssd_512"),
        ({"vpdpbusd-256", "pmaddwd-256"}, "vpdpwssd_256"),
        ({"pmaddubsw-512", "pmaddwd-512"}, "pmaddwd_512"),
        ({"pmaddubsw", "pmaddwd-256"}, "pmaddwd_256"),
        ({"sdot", "smlal"}, "smlal_int16"),
        ({"vmlal"}, "vmlal_int16"),
    ],
)
def test_choices_for_int16(features, name):
    chosen = choose_int16(features)
    assert (chosen.name, chosen.activation, chosen.weight) == (name, "int16", "int16")
    assert choose(features, (0, 256), 127) == (chosen, 0)


def test_no_choice_for_int16():
    assert choose_int16(set()) is None


def test_parts_only_where_a_link_of_them_fits():
    """It adds up two products."""
    for limit, count in ((127, 2), (128, 1)):
        assert len(list(variants(choose({"smlal"}, (-128, 127), limit)[0]))) == count


def test_int7_has_the_longest_chains():
    """What INT7 is for: more products per int16 than INT8, on the instructions that have such a step."""
    for name in LONGEST:
        chains = [choose(FAMILIES[name].features, (-limit, limit), limit)[0].chain for limit in (63, 127)]
        assert chains[0] > chains[1]


def test_every_family_is_tested_and_has_its_features():
    families = {definition.instruction.family for definition in (*FOR_BYTES, *instructions.OF_SUMS)}
    tested = (family.features for family in (*FAMILIES.values(), OF_SUMS, OF_SUMS_ON_ARM))
    assert families == set(host.NEEDED_FEATURES) == set().union(*tested)


@pytest.mark.parametrize(
    "name, features, chain, registers",
    [
        ("pmaddubsw_256_x4", (), 4, 16),
        ("vpdpwssd_512", (), 1, 32),
        ("smlal_x8", (), 8, 32),
        ("smlal_parts_x1", (), 1, 32),
        ("sdot_element_x2", (), 2, 32),
        ("smmla", (), 1, 32),
        ("usmmla_x2", (), 2, 32),
        ("usdot", (), 1, 32),
        ("smlal_int16", (), 8, 16),
        ("fma_128", {"vmlal"}, 1, 16),
        ("fma_128", {"sdot", "smlal"}, 1, 32),
    ],
)
def test_records_name_instructions(name, features, chain, registers):
    found = named(name, features)
    assert (found.name, found.chain, found.registers) == (name, chain, registers)


def test_records_name_chains_in_assembly():
    found = named("smlal_ordered_x4b")
    assert (found.name, found.chains, found.links) == ("smlal_ordered_x4b", (4, 11), 15)


@pytest.mark.parametrize("features", [set(), {"neon"}, {"avx2", "fma"}])
def test_unknown_features(features):
    with pytest.raises(ValueError, match="no multiply instruction is known for a CPU with"):
        choose(features, (0, 127), 63)


def test_instructions_are_registered_once():
    assert choose({"sdot"}, (0, 127), 63) == choose({"sdot"}, (-63, 63), 127)


@pytest.mark.parametrize(
    "features, bits",
    [
        ({"vpdpbusd-512"}, 512),
        ({"pmaddwd-512"}, 512),
        ({"vpdpbusd-256"}, 256),
        ({"pmaddubsw"}, 256),
        ({"smlal"}, 128),
        ({"sdot", "smlal"}, 128),
        ({"vmlal"}, 128),
    ],
)
def test_vector_bits(features, bits):
    assert vector_bits(features) == bits


@pytest.mark.parametrize(
    "lanes, features, registers",
    [(4, {"smlal"}, 32), (4, {"vmlal"}, 16), (8, {"pmaddubsw"}, 16), (16, {"vpdpbusd-512"}, 32)],
)
def test_float_instruction(lanes, features, registers):
    chosen = fma(lanes, features)
    assert (chosen.lanes, chosen.depth, chosen.registers) == (lanes, 1, registers)
