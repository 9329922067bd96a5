"""Chains that a layer's actual weights allow: neither fewer nor more than fit."""

from itertools import pairwise

import numpy as np
import pytest
from cases import SEEDS
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import accumulators

from eq_tvm.schedules.choice.chains import longer_chains, longest_chains
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import INT16_MAX, folded_bias
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_conv import direct_conv
from eq_tvm.schedules.convolution.direct_plan import (
    DirectPlan,
    DirectTiling,
    pack_channels,
    pack_weights,
    weight_runs,
)
from eq_tvm.schedules.processor.instructions import choose

LINKS = {"pmaddubsw": 2, "smlal": 1, "vmlal": 1}  # products that one link adds up in an int16
RANGES = st.one_of(  # what int8 or uint8 holds
    st.tuples(st.integers(-128, 0), st.integers(0, 127)), st.tuples(st.just(0), st.integers(128, 255))
)
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
    if not chosen.int16_step:
        return
    span = inputs[0] + offset, inputs[1] + offset
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

    found = longest_chains(packed.reshape(5, links, 3, 2, 8).transpose(0, 2, 1, 3, 4), inputs, 4)
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
    span = inputs[0] + offset, inputs[1] + offset
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

    def runs(longer):
        return weight_runs(DirectPlan(conv, longer, Output("int8"), DirectTiling(1, 1)), weight)

    return list(longer_chains(instruction, runs, span, LENGTHS))
