"""The closed form of the scale searches against quantizing and multiplying for each candidate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.passes.calibrate.scale_search import (
    Activation,
    ActivationSample,
    Candidates,
    search_activation_scale,
    search_weight_scales,
    weight_sample,
)
from eq_tvm.passes.quantized.closeness import mean_cosine
from eq_tvm.passes.quantized.quantizers import Range

shapes = st.fixed_dictionaries(
    {
        "images": st.integers(1, 3),
        "groups": st.integers(1, 3),
        "per_group": st.integers(1, 4),
        "k": st.integers(1, 6),
        "rows": st.integers(1, 20),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a.ravel() @ b.ravel() / lengths) if lengths else 0.0


def test_candidates_are_linear_and_hold_the_start():
    factors = Candidates(0.5, 2.0, 100).factors
    np.testing.assert_allclose(np.sort(factors), np.linspace(0.5, 2, 100))
    assert factors[0] == 1.0
    assert list(Candidates(0.9, 1.4, 2).factors) == [1.0, 1.4]


@settings(max_examples=60, deadline=None)
@given(shapes, st.booleans())
def test_weight_scales_equal_brute_force(shape, compress):
    rng = np.random.default_rng(shape["seed"])
    images, groups, per_group, k = (shape[n] for n in ("images", "groups", "per_group", "k"))
    patches = rng.integers(-63, 64, (images, groups, k, shape["rows"])) * 0.1
    outputs = rng.standard_normal((images, groups, per_group, shape["rows"]))
    weight = rng.standard_normal((groups, per_group, k)).astype(np.float32)
    start = (np.abs(weight).max(axis=2) / 63).astype(np.float32)
    factors = Candidates(0.5, 2.0, 20).factors
    sample = weight_sample(patches, outputs, compress)
    found = search_weight_scales(sample, weight, start, factors, 63, np.zeros_like(start))
    for g, o in np.ndindex(groups, per_group):

        def score(scale, g=g, o=o):
            quantized = outputs.copy()  # all other channels as in the float network
            quantized[:, g, o] = np.clip(np.rint(weight[g, o] / np.float32(scale)), -63, 63) @ patches[:, g] * scale
            return np.mean(list(map(cosine, quantized, outputs)))

        candidates = (start[g, o] / factors).astype(np.float32)
        assert found[g, o] in candidates
        assert score(found[g, o]) == pytest.approx(max(map(score, candidates)), abs=2e-5)


@settings(max_examples=40, deadline=None)
@given(shapes, st.sampled_from([(0.0, np.inf), (0.0, 6.0), None]), st.booleans())
def test_weight_scales_behind_an_activation_equal_brute_force(shape, bounds, alone):
    rng = np.random.default_rng(shape["seed"])
    images, groups, per_group, k = (shape[n] for n in ("images", "groups", "per_group", "k"))
    patches = rng.integers(-63, 64, (images, groups, k, shape["rows"])) * 0.1
    outputs = rng.standard_normal((images, groups, per_group, shape["rows"])) * 5
    weight = rng.standard_normal((groups, per_group, k)).astype(np.float32)
    bias = rng.standard_normal((groups, per_group)).astype(np.float32)
    activation = None if bounds is None else Activation(bias, bounds[0], np.full_like(bias, bounds[1]))
    start = (np.abs(weight).max(axis=2) / 63).astype(np.float32)
    factors = Candidates(0.5, 2.0, 20).factors
    sample = weight_sample(patches, outputs, False, activation, alone)
    found = search_weight_scales(sample, weight, start, factors, 63, np.zeros_like(start))
    for g, o in np.ndindex(groups, per_group):

        def behind(x):
            return x if bounds is None else np.clip(x + bias[..., None], *bounds)

        def score(scale, g=g, o=o):
            quantized = outputs.copy()
            quantized[:, g, o] = np.clip(np.rint(weight[g, o] / np.float32(scale)), -63, 63) @ patches[:, g] * scale
            pairs = zip(behind(quantized), behind(outputs), strict=True)
            return np.mean([cosine(a[g, o], b[g, o]) if alone else cosine(a, b) for a, b in pairs])

        candidates = (start[g, o] / factors).astype(np.float32)
        assert score(found[g, o]) == pytest.approx(max(map(score, candidates)), abs=2e-5)


def test_weight_scales_respect_the_smallest():
    rng = np.random.default_rng(0)
    sample = weight_sample(rng.integers(0, 127, (2, 1, 4, 9)), rng.standard_normal((2, 1, 3, 9)), compress=False)
    weight = rng.standard_normal((1, 3, 4)).astype(np.float32)
    start = np.full((1, 3), 0.02, np.float32)
    found = search_weight_scales(sample, weight, start, Candidates(0.5, 2, 9).factors, 63, start * 0.9)
    assert (found >= start * np.float32(0.9)).all()


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from([Range("int8", -63, 63), Range("int8", 0, 127), Range("uint8", 0, 255)]), st.booleans())
def test_activation_scale_equals_brute_force(shape, range_, behind):
    rng = np.random.default_rng(shape["seed"])
    images, groups, per_group, k = (shape[n] for n in ("images", "groups", "per_group", "k"))
    x = rng.standard_normal((images, groups, shape["rows"], k)).astype(np.float32)
    x = x if range_.lo < 0 else np.maximum(x, 0)
    weight = rng.standard_normal((groups, k, per_group)).astype(np.float32)
    bias = rng.standard_normal((groups, per_group)).astype(np.float32)
    activation = Activation(bias, 0.0, np.full_like(bias, 6)) if behind else None
    target = (x @ weight + 0.1).astype(np.float32)
    target = activation(target) if behind else target
    layer = ActivationSample(x, weight, target, activation)
    itself = ActivationSample(x, None, x)
    start = np.float32(max(np.abs(x).max(), 1e-3) / range_.hi)
    factors = Candidates(0.5, 2.0, 20).factors
    found = search_activation_scale([layer, itself], start, factors, range_)

    def score(scale):
        q = np.clip(np.rint(x / scale), range_.lo, range_.hi)
        y = activation(q @ weight * scale) if behind else q @ weight
        return np.mean([cosine(y[i], target[i]) + cosine(q[i], x[i]) for i in range(images)])

    candidates = (start / factors).astype(np.float32)
    assert found in candidates
    assert score(found) == pytest.approx(max(map(score, candidates)), abs=2e-5)


def test_nothing_but_zeros_keeps_the_start():
    zeros = np.zeros((2, 1, 3, 4), np.float32)
    sample = ActivationSample(zeros, np.ones((1, 4, 2), np.float32), np.zeros((2, 1, 3, 2), np.float32))
    factors = Candidates(0.5, 2.0, 100).factors
    start = np.float32(1 / 127)
    assert search_activation_scale([sample], start, factors, Range("int8", 0, 127)) == start
    dead = weight_sample(zeros.transpose(0, 1, 3, 2), zeros[..., :2].transpose(0, 1, 3, 2), compress=True)
    scales = np.full((1, 2), 0.1, np.float32)
    found = search_weight_scales(dead, np.ones((1, 2, 4), np.float32), scales, factors, 63, np.zeros_like(scales))
    np.testing.assert_array_equal(found, scales)


def test_mean_cosine():
    a = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    b = np.array([[1.0, 1.0], [1.0, 1.0], [3.0, 4.0]])
    assert mean_cosine(a, b) == pytest.approx((np.sqrt(0.5) + 0 + 1) / 3)
