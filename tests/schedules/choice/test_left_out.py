"""Reasons why kernels are no candidates, and proofs with their margins."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from families import FAMILIES

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import considered, convolution_candidates
from eq_tvm.schedules.choice.chains import chain_proofs
from eq_tvm.schedules.choice.left_out import left_out
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import INT16_MAX
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_plan import DirectPlan, DirectTiling, weight_runs
from eq_tvm.schedules.processor.instructions import choose, passed_over

CONV = Conv2D(1, 8, 8, 16, 16, (3, 3), padding=(1, 1, 1, 1))
MULTIPLIER = np.ones(16, "float32")
AVX2 = FAMILIES["pmaddubsw"]


def of(weight, conv=CONV):
    source, bias = Stored("uint8", 0, 127), np.zeros(16, "int32")
    return considered(conv, weight, bias, MULTIPLIER, source, Output("uint8"), AVX2.machine)


@pytest.mark.parametrize("largest", [1, 30, 63])
def test_what_is_offered_is_what_is_proven(largest):
    weight = np.full((16, 16, 3, 3), largest, "int8")
    found = of(weight)
    arguments = CONV, weight, np.zeros(16, "int32"), MULTIPLIER, Stored("uint8", 0, 127), Output("uint8"), AVX2.machine
    assert [each.name for each in convolution_candidates(*arguments)] == [each.name for each in found if each.is_proven]
    chains = {each.instruction: each.proofs[1] for each in found if each.algorithm == "direct"}
    assert len(chains) > 1
    for instruction, proof in chains.items():
        products = 2 * int(instruction.rpartition("_x")[2])
        assert (proof.reached, proof.bound) == (127 * largest * products, INT16_MAX), instruction


def test_a_proof_reaches_what_the_worst_input_does():
    weight = np.random.default_rng(0).integers(-63, 64, (16, 16, 3, 3)).astype("int8")
    ins, _ = choose(AVX2.features, (0, 127), 63)
    runs = partial(weight_runs, DirectPlan(CONV, ins, Output("uint8"), DirectTiling(1, 1)))
    (proof,) = chain_proofs(ins, lambda _: runs(weight), (0, 127))
    lanes = weight.transpose(0, 2, 3, 1).reshape(-1, ins.chain, 2, 2).transpose(0, 2, 1, 3)
    sums = [np.maximum(sign * lanes.astype(int), 0).sum((2, 3)).max() * 127 for sign in (1, -1)]
    assert proof.reached == max(sums) and proof.holds


def test_the_reason_says_what_winograd_is_for():
    shapes = {3: [(3, 1), (5, 2), (6, 2)], 4: [(4, 1), (7, 2), (8, 2)], 0: [(2, 1), (5, 1), (4, 2), (9, 2)]}
    for taps, fitting in shapes.items():
        for kernel, stride in fitting:
            conv = Conv2D(1, 16, 16, 16, 16, (kernel, kernel), (stride, stride))
            assert ("Winograd" in left_out(conv, 63, MULTIPLIER, "uint8", (0, 127), AVX2.features)) == (not taps)
    for conv in (replace(CONV, dilation=(2, 2)), replace(CONV, groups=2)):
        reason = left_out(conv, 63, MULTIPLIER, "uint8", (0, 127), AVX2.features)["Winograd"]
        assert "3x3 and 4x4, 5x5 to 8x8 with strides of 2" in reason and "without groups or dilation" in reason


def test_reasons():
    strided = Conv2D(1, 8, 8, 16, 16, (3, 3), (2, 2))
    reasons = left_out(strided, 63, MULTIPLIER, "uint8", (0, 127), AVX2.features)
    assert set(reasons) == {"Winograd"} and "3x3" in reasons["Winograd"]
    assert left_out(CONV, 63, MULTIPLIER, "uint8", (0, 127), AVX2.features) == {}
    assert "small" in left_out(CONV, 63, MULTIPLIER * 2.0**-101, "uint8", (0, 127), AVX2.features)["Winograd"]
    assert "bytes" in left_out(CONV, 63, MULTIPLIER, "int16", (-2047, 2047), AVX2.features)["Winograd"]


def test_instructions_that_are_passed_over():
    """At INT8, two products of bytes leave 16 bits: words are multiplied instead."""
    assert passed_over(AVX2.features, (0, 127), 63) == {}
    amx = FAMILIES["tdpbusd-tile"].features
    assert passed_over(amx, (0, 255), 127) == {}
    assert "offset" in passed_over(amx, (-127, 127), 127)["tdpbusd_tile"]
    (reason,) = passed_over(AVX2.features, (0, 255), 127).values()
    assert reason == f"2 products could add up to {2 * 255 * 127:,}, beyond 32,767"
