"""The search that runs the whole network for each candidate finds what the one in closed form finds."""

import sys
from pathlib import Path

import numpy as np
import pytest

from eq_tvm.passes import EASYQUANT_SHIPPED, EasyQuantCalibrate
from eq_tvm.passes.calibrate.scale_search import Candidates
from eq_tvm.passes.quantized.problem import Problem
from whole_network_search import WholeNetworkSearch

sys.path.append(str(Path(__file__).resolve().parents[1] / "passes"))
from small_networks import build, conv, random, relu


def make(emit, x):
    return [conv(emit, relu(emit, conv(emit, relu(emit, conv(emit, x, "a"), "ra"), "bb"), "rb"), "c")]


@pytest.mark.parametrize("scheme", ["int6", "int7"])  # at INT8 neighbours are too close to tell
def test_finds_the_scales_of_the_closed_form(scheme):
    candidates = {"weights": Candidates(0.4, 1.0, 12), "activations": Candidates(0.5, 1.0, 10)}
    mod, images = build(make), {"x": random(6, 3, 8, 8, seed=5)}
    problem = Problem.of(mod, images, scheme, "unsigned")
    search = WholeNetworkSearch(problem, **candidates)
    found = search.run()
    assert search.runs == search.all_runs == 3 * (12 + 10)

    calibration = EasyQuantCalibrate(images, scheme=scheme, **(EASYQUANT_SHIPPED | candidates))
    expected = calibration.find_scales(problem).scales
    np.testing.assert_array_equal(found.activations, expected.activations)
    for layer, scales in expected.weights.items():
        np.testing.assert_array_equal(found.weights[layer], scales)


def test_tries_few_candidates_on_request():
    problem = Problem.of(build(make), {"x": random(2, 3, 8, 8)}, "int7", "unsigned")
    search = WholeNetworkSearch(problem, Candidates(), Candidates(), tries=2)
    search.run()
    assert (search.runs, search.all_runs) == (3 * 2 * 2, 3 * 2 * 100)
