"""The choice of a multiply instruction: the proof that its int16 step holds, and the bias that takes an offset back."""

import numpy as np
import pytest
from cases import ACTIVATION_RANGES, WEIGHT_LIMITS
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.schedules.depthwise import int16_chain
from eq_tvm.schedules.instructions import INT16_MAX, INT32_MAX, choose, fma, folded_bias, vector_bits

LONGEST = {"pmaddubsw": 4, "smlal": 8}  # links of a chain that there are kernels for
LINKS = {"pmaddubsw": 2, "smlal": 1}  # products that one link adds up in an int16
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
    kind = chosen.name.removeprefix("eq_tvm.").split("_")[0]
    if kind not in LONGEST:
        assert chosen.chain == 1
        return
    product = max(-low, high, 1) * max(limit, 1)
    worst = chosen.chain * LINKS[kind] * product
    assert worst <= INT16_MAX
    if kind == "smlal":  # powers of two only
        assert 2 * worst > INT16_MAX or chosen.chain == LONGEST[kind]
    else:
        assert worst + 2 * product > INT16_MAX or chosen.chain == LONGEST[kind]


@pytest.mark.parametrize(
    "name, inputs, limit, instruction, offset",
    [
        ("pmaddubsw", (0, 127), 63, "pmaddubsw_x2", 0),
        ("pmaddubsw", (-63, 63), 63, "pmaddubsw_x2", 63),
        ("pmaddubsw", (0, 63), 63, "pmaddubsw_x4", 0),
        ("pmaddubsw", (0, 255), 63, "pmaddubsw_x1", 0),
        ("pmaddubsw", (0, 127), 127, "pmaddubsw_x1", 0),
        ("pmaddubsw", (0, 255), 127, "pmaddwd_256", 0),  # pmaddubsw itself would saturate
        ("pmaddubsw", (-127, 127), 127, "pmaddwd_256", 0),
        ("smlal", (-63, 63), 63, "smlal_x8", 0),
        ("smlal", (0, 127), 63, "smlal_x4", 0),
        ("smlal", (-127, 127), 127, "smlal_x2", 0),
        ("smlal", (-128, 127), 127, "smlal_x2", 0),
        ("smlal", (0, 255), 127, "smlal_x2", -128),
        ("sdot", (-127, 127), 127, "sdot", 0),
        ("sdot", (0, 255), 127, "sdot", -128),
        ("vpdpbusd-512", (0, 255), 127, "vpdpbusd_512", 0),
        ("vpdpbusd-512", (-128, 127), 127, "vpdpbusd_512", 128),
        ("vpdpbusd-256", (-63, 63), 63, "vpdpbusd_256", 63),
        ("pmaddwd-512", (-127, 127), 127, "pmaddwd_512", 0),
    ],
)
def test_choices(name, inputs, limit, instruction, offset):
    chosen, got = choose(FAMILIES[name].features, inputs, limit)
    assert (chosen.name, got) == (f"eq_tvm.{instruction}", offset)
    assert chosen.lanes * 32 == FAMILIES[name].bits


def test_int7_has_the_longest_chains():
    """What INT7 is for: more products per int16 than INT8, on the instructions that have such a step."""
    for name in LONGEST:
        chains = [choose(FAMILIES[name].features, (-limit, limit), limit)[0].chain for limit in WEIGHT_LIMITS]
        assert chains[0] > chains[1]


@pytest.mark.parametrize("features", [set(), {"neon"}, {"avx2", "fma"}])
def test_unknown_features(features):
    with pytest.raises(ValueError, match="no multiply instruction is known for a CPU with"):
        choose(features, (0, 127), 63)


def test_instructions_are_registered_once():
    assert choose({"sdot"}, (0, 127), 63) == choose({"sdot"}, (-63, 63), 127)


@pytest.mark.parametrize(
    "features, bits",
    [({"vpdpbusd-512"}, 512), ({"pmaddwd-512"}, 512), ({"vpdpbusd-256"}, 256), ({"pmaddubsw"}, 256), ({"smlal"}, 128),
     ({"sdot", "smlal"}, 128)],
)
def test_vector_bits(features, bits):
    assert vector_bits(features) == bits


@pytest.mark.parametrize("lanes, registers", [(4, 32), (8, 16), (16, 32)])
def test_float_instruction(lanes, registers):
    assert (fma(lanes).lanes, fma(lanes).depth, fma(lanes).registers) == (lanes, 1, registers)


@given(st.sampled_from(ACTIVATION_RANGES), st.integers(-128, 128), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=100)
def test_folded_bias_takes_the_offset_back(inputs, offset, seed, extreme):
    rng = np.random.default_rng(seed)
    w = rng.integers(-127, 128, (5, 3, 2, 2)).astype("int8")
    bias = rng.integers(-(2**30), 2**30, 5, dtype="int32")
    x = rng.choice(inputs, 12) if extreme else rng.integers(inputs[0], inputs[1] + 1, 12)
    folded = folded_bias(w, bias, inputs, offset)
    assert folded.dtype == np.int32
    flat = w.reshape(5, -1).astype("int64")
    np.testing.assert_array_equal(flat @ (x + offset) + folded, flat @ x + bias)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inputs, offset", [((0, 127), 0), ((-63, 63), 63), ((0, 255), -128), ((-127, 127), 0)])
def test_accumulators_that_could_overflow_are_refused(inputs, offset, sign):
    """The bias may be as large as the worst input allows, and not by one larger, whatever the offset."""
    w = np.full((2, 10, 1, 1), -63, "int8")
    w[0] = 0
    low, high = inputs
    rest = INT32_MAX - 630 * (-low if sign > 0 else high)
    bias = np.array([0, sign * rest])
    assert folded_bias(w, bias, inputs, offset)[1] == np.int64(bias[1] + offset * 630).astype("int32")
    with pytest.raises(ValueError, match="output channel 1: its accumulator could reach 2147483648"):
        folded_bias(w, np.add(bias, [0, sign]), inputs, offset)


@given(RANGES, st.integers(0, 127))
@settings(max_examples=300)
def test_int16_chain_of_depthwise_layers(inputs, limit):
    chain = int16_chain(inputs, limit)
    largest = max(-inputs[0], inputs[1])
    assert chain * largest * limit <= INT16_MAX
    assert (chain + 1) * max(largest * limit, 1) > INT16_MAX
