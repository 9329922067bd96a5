"""Scales by the correlation of outputs, and the order of attention."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import build, network, random
from small_transformer import SHAPE, transformer

from eq_tvm.passes import MinMaxCalibrate, ViTCalibrate, compare_outputs, round_weights
from eq_tvm.passes.correlation.correlation import Order, mean_correlation
from eq_tvm.passes.correlation.readers import LayerReader, ProductReader, TensorReader
from eq_tvm.passes.correlation.samples import sampled_readers
from eq_tvm.passes.correlation.weight_search import search_weights
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.progress import no_progress

TOKENS = {"x": random(24, *SHAPE[1:], seed=7)}
UNSEEN = {"x": random(100, *SHAPE[1:], seed=8)}
PIXELS = {"x": random(12, 3, 8, 8, seed=7)}


def _problem(make=transformer, images=TOKENS, scheme="int6"):
    module = build(make, SHAPE) if make is transformer else build(make)
    problem = Problem.of(module, images, scheme, "unsigned")
    return problem, MinMaxCalibrate(images, scheme=scheme).find_scales(problem).scales


def _readers(problem):
    return sampled_readers(problem, (0.1, 0.2), no_progress)


def _lost(module, annotated, scheme):
    ((expected, result),) = next(compare_outputs(module, annotated, [UNSEEN], scheme=scheme))
    return 1 - mean_correlation(expected, result)


@given(st.integers(1, 4), st.integers(2, 9), st.integers(2, 7), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_correlation_and_order_are_the_papers(images, rows, length, seed):
    rng = np.random.default_rng(seed)
    scores, expected = (rng.normal(size=(images, rows, length)).astype(np.float32) for _ in range(2))
    plain = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(scores, expected, strict=True)]
    assert mean_correlation(scores, expected) == pytest.approx(np.mean(plain), abs=1e-6)
    pairs = [(i, j) for i in range(length) for j in range(i + 1, length)]
    losses = [
        max(0, 0.2 - (row[i] - row[j]) * np.sign(wanted[i] - wanted[j]))
        for row, wanted in zip(scores.reshape(-1, length), expected.reshape(-1, length), strict=True)
        for i, j in pairs
    ]
    order = Order(np.array(pairs).T, 0.1, 0.2)
    assert order.loss(scores, expected) == pytest.approx(0.1 * np.mean(losses), rel=1e-4, abs=1e-7)


def test_constant_tensors():
    """Nothing divides by zero."""
    ones, varied = np.ones((1, 4), np.float32), np.arange(4, dtype=np.float32)[None]
    assert (mean_correlation(ones, ones), mean_correlation(ones, varied)) == (1, 0)


def test_who_reads_what():
    """Layers, products of both kinds, and tensors; only scores have an order."""
    problem, _ = _problem()
    readers = [reader for group in _readers(problem) for reader in group]
    layers = {reader.layer for reader in readers if isinstance(reader, LayerReader)}
    assert layers == set(problem.net.layers())
    products = {id(reader): reader for reader in readers if isinstance(reader, ProductReader)}.values()
    assert sorted(reader.order is not None for reader in products) == [False] * 2 + [True] * 2
    assert any(isinstance(reader, TensorReader) for reader in readers)


@pytest.mark.parametrize("make, images", [(transformer, TOKENS), (network, PIXELS)])
def test_weights_are_searched_for_the_layers_correlation(make, images):
    """One channel's candidates by definition, the other channels in float: the search finds the best of them."""
    problem, scales = _problem(make, images)
    factors = np.array([1.0, 0.9, 0.75, 0.6])
    reader = next(
        r for group in _readers(problem) for r in group if isinstance(r, LayerReader) and r.weight.shape[2] > 1
    )
    start = scales.weights[reader.layer]
    found = search_weights(reader, scales, start, factors, problem)
    channel = len(start) - 1  # the last one of the last group

    def correlation(factor):
        tried = scales.copy()
        tried.weights[reader.layer] = (start * factor).astype(np.float32)
        weight, step = reader.quantized_weight(tried), scales.activations[reader.group]
        result = np.matmul(reader.read(scales), weight) * (step * reader.weight_scale(tried))
        outputs = reader.outputs.copy()
        outputs[:, -1, :, -1] = result[:, -1, :, -1]
        if reader.has_bias:
            outputs -= (outputs - reader.outputs).mean(axis=(0, 2), keepdims=True)
        return mean_correlation(outputs, reader.outputs)

    assert found[channel] == pytest.approx(start[channel] * factors[np.argmax([correlation(f) for f in factors])])


def test_it_beats_the_largest_magnitudes():
    module = build(transformer, SHAPE)
    messages = []
    found = ViTCalibrate(TOKENS, scheme="int6", progress=lambda done, message: messages.append((done, message)))(module)
    largest = MinMaxCalibrate(TOKENS, scheme="int6")(module)
    assert _lost(module, found, "int6") < _lost(module, largest, "int6")
    assert [done for done, _ in messages] == sorted(done for done, _ in messages)


def test_networks_without_attention():
    calibration = ViTCalibrate(PIXELS, scheme="int7", rounds=2)
    calibration(build(network))
    assert calibration.record


def test_refinement_follows():
    """It corrects the biases then."""
    calibration = ViTCalibrate(TOKENS, scheme="int6", refine=round_weights)
    assert not calibration.bias
    calibration(build(transformer, SHAPE))
    assert calibration.record


def test_what_it_takes():
    for wrong in ({"gamma": -1}, {"theta": -1}, {"candidates": 0}, {"rounds": 0}):
        with pytest.raises(ValueError, match="ViTCalibrate needs"):
            ViTCalibrate(TOKENS, **wrong)
