"""Streamed histograms against numpy's of everything at once."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_networks import build, conv, random, relu
from tvm import relax

from eq_tvm.passes.calibrate.tensor_statistics import Extremes, Histogram, collect
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.quantizers import TINY


def stream(parts, bins=64):
    histogram = Histogram(bins)
    for part in parts:
        histogram.update(part, float(part.min()), float(part.max()))
    return histogram


@settings(max_examples=50, deadline=None)
@example([5e-45, 1e-20, 1.0], 0)
@example([5e-45], 0)
@given(st.lists(st.floats(0.0, 1e4, width=32), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_streamed_histogram(sizes, seed):
    rng = np.random.default_rng(seed)
    parts = [(rng.standard_normal(50) * size).astype(np.float32) for size in sizes]
    values = np.abs(np.concatenate(parts))
    histogram = stream(parts)
    assert histogram.max_abs == values.max()
    counted = np.concatenate([part for part in parts if np.abs(part).max() >= TINY] or [np.zeros(0)])
    assert list(histogram.counts.sum(axis=1)) == [np.count_nonzero(counted > 0), np.count_nonzero(counted < 0)]
    values = np.concatenate([np.abs(part) if np.abs(part).max() >= TINY else 0 * part for part in parts])
    assert histogram.zeros == np.count_nonzero(values == 0)
    assert histogram.counts.sum() + histogram.zeros == values.size
    if histogram.width:
        expected, _ = np.histogram(values[values > 0], 64, (0, 64 * histogram.width))
        # the largest values of a part may stand at the closed end of the last bin
        assert np.abs(np.cumsum(histogram.counts.sum(axis=0) - expected)).max() <= len(parts)
        assert len(histogram.magnitudes) > 32


def test_nothing_but_zeros():
    histogram = stream([np.zeros(5, np.float32)])
    assert (len(histogram.magnitudes), histogram.zeros, histogram.max_abs) == (0, 5, 0)


def test_collects_each_group_over_all_images():
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        b = relu(emit, conv(emit, a, "bb"), "rb")
        return [conv(emit, emit(relax.op.concat([a, b], axis=1), "both"), "c")]

    images = random(19, 3, 8, 8)  # more than two chunks
    problem = Problem.of(build(make), {"x": images}, "int7", "unsigned")
    found, histograms = (collect(problem, kind, lambda done, what: None) for kind in (Extremes, Histogram))
    assert [f.max_abs for f in found] == [h.max_abs for h in histograms]
    assert found[0].max_abs == np.abs(images).max()
    assert [h.counts.sum() + h.zeros for h in histograms] == [19 * 3 * 64, 19 * 2 * 4 * 64]


def test_of_large_tensors_a_sample_is_counted(monkeypatch):
    monkeypatch.setattr(Histogram, "sampled", 100)
    images = random(9, 3, 8, 8)
    images[4, 1, 2, 3] = 50  # the largest counts, whether it is sampled or not
    problem = Problem.of(build(lambda emit, x: [conv(emit, x, "a")]), {"x": images}, "int7", "unsigned")
    (histogram,) = collect(problem, Histogram, lambda done, what: None)
    assert histogram.max_abs == 50
    assert histogram.counts.sum() + histogram.zeros == 900


def test_names_the_layer_that_overflows():
    mod = build(lambda emit, x: [conv(emit, x, "big", weight=np.full((4, 3, 3, 3), 3e38, np.float32))])
    problem = Problem.of(mod, {"x": random(2, 3, 8, 8)}, "int7", "unsigned")
    with pytest.raises(ValueError, match="big"):
        collect(problem, Extremes, lambda done, what: None)
