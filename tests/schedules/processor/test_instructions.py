"""The choice of a multiply instruction: the proof that its int16 step holds, and the bias that takes an offset back."""

from itertools import pairwise

import numpy as np
import pytest
from cases import ACTIVATION_RANGES, SEEDS
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import accumulators

from eq_tvm.schedules.choice.overflow import INT16_MAX, INT32_MAX, folded_bias, longer_chains, longest_chains
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.depthwise import int16_chain
from eq_tvm.schedules.convolution.direct_conv import direct_conv
from eq_tvm.schedules.convolution.direct_plan import DirectPlan, DirectTiling, pack_channels, pack_weights
from eq_tvm.schedules.processor.instructions import choose, choose_int16, fma, forms, vector_bits

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
    kind = chosen.name.removeprefix("eq_tvm.").split("_")[0]
    if kind not in LONGEST:
        assert chosen.chain == 1
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
        ("pmaddubsw", (-31, 31), 31, "pmaddubsw_256_x4", 31),
        ("smlal", (0, 63), 31, "smlal_x8", 0),
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
    assert (chosen.name, got) == (f"eq_tvm.{instruction}", offset)
    assert chosen.lanes * 32 == FAMILIES[name].bits


@pytest.mark.parametrize(
    "features, name",
    [
        ({"vpdpbusd-512", "pmaddwd-512"}, "vpdpwssd_512"),
        ({"vpdpbusd-256", "pmaddwd-256"}, "vpdpwssd_256"),
        ({"pmaddubsw-512", "pmaddwd-512"}, "pmaddwd_512"),
        ({"pmaddubsw", "pmaddwd-256"}, "pmaddwd_256"),
    ],
)
def test_choices_for_int16(features, name):
    chosen = choose_int16(features)
    assert (chosen.name, chosen.activation, chosen.weight) == (f"eq_tvm.{name}", "int16", "int16")


def test_no_choice_for_int16():
    assert choose_int16(set()) is None


def test_parts_only_where_a_link_of_them_fits():
    """It adds up two products."""
    for limit, count in ((127, 2), (128, 1)):
        assert len(list(forms(choose({"smlal"}, (-128, 127), limit)[0]))) == count


LENGTHS = 2, 3, 4, 6, 8
CHAINED = ["pmaddubsw", "pmaddubsw-512", "smlal", "vmlal"]


@given(st.sampled_from(CHAINED), RANGES, st.sampled_from([2, 4, 16, 40]), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_longer_chains_are_those_that_fit(name, inputs, spread, seed):
    """By the worst input of each int16 lane: neither fewer nor more."""
    rng = np.random.default_rng(seed)
    weight = np.clip(np.rint(rng.normal(0, spread, (20, 64))), -127, 127).astype("int8")
    weight.flat[seed % weight.size] = 127
    chosen, offset = choose(FAMILIES[name].features, inputs, 127)
    if chosen.chained is None:
        return
    span = offset_range(inputs, offset)
    found = [longer.chain for longer in _longer(chosen, weight[:, :, None, None], span)]
    links = LINKS[name.split("-")[0]]
    for chain in LENGTHS:
        full = np.pad(weight, [(0, 0), (0, -weight.shape[1] % (2 * links * chain))])
        ends = np.stack([full.reshape(20, -1, chain, 2, links).astype("int64") * end for end in span])
        fits = ends.max(0).sum((2, 4)).max() <= INT16_MAX and ends.min(0).sum((2, 4)).min() >= -INT16_MAX
        assert (chain in found) == (fits and chain > chosen.chain)


@given(RANGES, st.integers(1, 12), st.sampled_from([2, 16, 40, 127]), SEEDS)
@settings(max_examples=100)
def test_longest_chains(inputs, links, spread, seed):
    """No sum overflows, and there is no way with fewer chains."""
    rng = np.random.default_rng(seed)
    packed = np.clip(np.rint(rng.normal(0, spread, (5, links, 3, 16))), -127, 127).astype("int8")
    ends = np.stack([packed.reshape(5, links, 3, 2, 8).astype("int64") * end for end in inputs])
    greatest, least = ends.max(0).sum(3), ends.min(0).sum(3)

    def fits(start, end):
        return greatest[:, start:end].sum(1).max() <= INT16_MAX and least[:, start:end].sum(1).min() >= -INT16_MAX

    found = longest_chains(packed, inputs, 4)
    starts = np.cumsum([0, *found])
    assert starts[-1] == links or (not found and not all(fits(n, n + 1) for n in range(links)))
    assert all(fits(*chain) for chain in pairwise(starts))
    fewest = {0: 0} | dict.fromkeys(range(1, links + 1), links + 1)
    for end in range(1, links + 1):
        fewest[end] = min((fewest[start] + 1 for start in range(end) if fits(start, end)), default=links + 1)
    assert not found or len(found) == fewest[links]


@pytest.mark.parametrize(
    "family, inputs, chain",
    [
        ("pmaddubsw", (0, 127), 4),
        ("pmaddubsw", (-63, 63), 8),
        ("pmaddubsw", (0, 255), 2),
        ("pmaddubsw-512", (0, 127), 8),
        ("smlal", (0, 127), 8),
        ("smlal", (-127, 127), 8),
        ("vmlal", (0, 127), 8),
    ],
    indirect=["family"],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_chain_at_its_limit(family, folder, inputs, chain, sign):
    """Weights whose int16 sums reach the limit are computed exactly; by one larger, the chain is refused."""
    chosen, offset = choose(family.features, inputs, 63)
    high, links = inputs[1] + offset, chosen.pairs // 2
    count, total = chain * links, INT16_MAX // high  # weights of an int16 lane, and what they may add up to
    lane = np.full(count, (total - 63) // (count - 1))
    lane[0], lane[-1] = 63, lane[-1] + total - 63 - lane[0] * (count - 1)
    assert lane.sum() == total and lane.max() == 63 and total * high > INT16_MAX - high
    weight = np.zeros((16, chain, 2, links), "int8")
    weight[5, :, 1] = sign * lane.reshape(chain, links)
    weight = weight.reshape(16, -1, 1, 1)
    span = offset_range(inputs, offset)
    (longer,) = (found for found in _longer(chosen, weight, span) if found.chain == chain)

    dtype = "uint8" if inputs[1] > 127 else "int8"
    conv = Conv2D(1, 1, 3, weight.shape[1], 16)
    x = np.full((1, 1, 3, conv.in_channels), inputs[1], dtype)
    bias = np.zeros(16, "int32")
    plan = DirectPlan(conv, longer, Output("float32"), DirectTiling(1, 3))
    arguments = [
        x,
        pack_weights(plan, weight),
        pack_channels(plan, folded_bias(weight, bias, inputs, offset)),
        pack_channels(plan, np.ones(16, "float32")),
        np.array([-np.inf, np.inf], "float32"),
    ]
    (got,) = family.run(folder, [(direct_conv(plan, offset, dtype), arguments)])
    np.testing.assert_array_equal(got, accumulators(conv, x, weight, bias))

    at = np.flatnonzero(weight[5])[-1]
    weight[5, at] += sign
    assert chain not in [found.chain for found in _longer(chosen, weight, span)]


def _longer(instruction, weight, span):
    conv = Conv2D(1, 1, 1, weight.shape[1], weight.shape[0])

    def packed(longer):
        return pack_weights(DirectPlan(conv, longer, Output("int8"), DirectTiling(1, 1)), weight)

    return list(longer_chains(instruction, packed, span, LENGTHS))


def test_int7_has_the_longest_chains():
    """What INT7 is for: more products per int16 than INT8, on the instructions that have such a step."""
    for name in LONGEST:
        chains = [choose(FAMILIES[name].features, (-limit, limit), limit)[0].chain for limit in (63, 127)]
        assert chains[0] > chains[1]


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


@given(RANGES, st.integers(0, 127), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=300)
def test_int16_chain_of_depthwise_layers(inputs, limit, seed, extreme):
    """Every run of so many products fits; all products of the filter do, or one more of the largest would not."""
    rng = np.random.default_rng(seed)
    w = rng.choice([-limit, limit], (3, 1, 3, 3)) if extreme else rng.integers(-limit, limit + 1, (3, 1, 3, 3))
    w = w.astype("int8")
    chain = int16_chain(w, inputs)
    ends = np.stack([w.reshape(3, 9).astype("int64") * end for end in inputs])
    for start in range(0, 9, max(chain, 1)):
        assert ends.max(0)[:, start : start + chain].sum(1).max() <= INT16_MAX
        assert ends.min(0)[:, start : start + chain].sum(1).min() >= -INT16_MAX
    largest = max(-inputs[0], inputs[1]) * int(np.abs(w.astype("int32")).max())
    assert chain == 9 or (chain + 1) * max(largest, 1) > INT16_MAX
