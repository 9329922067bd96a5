"""How many calibration images are enough, and how many fit into memory."""

import numpy as np
import pytest
from small_networks import build, conv, random, relu

from eq_tvm.passes import affordable_images
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized import calibration_images
from eq_tvm.passes.quantized.calibration_images import enough_images, images_at_once
from eq_tvm.passes.quantized.problem import Problem


def network(size):
    return build(lambda emit, x: [relu(emit, conv(emit, x, "a", out=8), "r")], (1, 3, size, size))


def test_the_larger_the_images_the_fewer():
    counts = [affordable_images(network(size)) for size in (64, 256, 4096)]
    assert counts[0] > 15 * counts[1] > 50
    assert counts[2] == 8


def test_what_fits_into_memory(monkeypatch):
    held = 2 * 8 * 32 * 32  # a convolution's result, and behind its bias
    monkeypatch.setattr(calibration_images, "_HELD", 20 * held + 5)
    assert images_at_once(read_network(network(32))) == 20
    assert images_at_once(read_network(network(128))) == 4
    images = random(50, 3, 32, 32)
    problem = Problem.of(network(32), {"x": images}, "int7", "unsigned")
    some = problem.at_once()
    assert (problem.count, some.count) == (50, 20)
    np.testing.assert_array_equal(some.inputs[0][[0, -1], 0], images[[0, -1]])
    assert problem.subset(slice(12)).at_once().count == 12


@pytest.mark.parametrize("count", [1, 19])
def test_chunks_are_measured_in_order(count):
    images, told = random(count, 3, 8, 8), []
    problem = Problem.of(network(8), {"x": images}, "int7", "unsigned")
    parts = list(
        problem.measured(
            lambda i, value: value if i == 0 else None, lambda done, message: told.append((done, message)), "measuring"
        )
    )
    assert all(list(part) == [0] for part in parts)
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts])[:, 0], images)
    assert told[0] == (0.0, "measuring")
    assert told[-1] == (1.0, "measuring")


def test_ranges_take_fewer_of_large_images():
    small, large = (read_network(network(size)) for size in (64, 4096))
    assert enough_images(small, 50).tolist() == list(range(50))
    taken = enough_images(large, 50)
    assert len(taken) == 8 and taken[[0, -1]].tolist() == [0, 49] and np.diff(taken).min() >= 6
    assert enough_images(large, 3).tolist() == [0, 1, 2]
