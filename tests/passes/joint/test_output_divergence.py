"""The loss that all scales are searched by."""

import numpy as np
import pytest
from small_networks import build, conv, random
from tvm import relax

from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.joint.output_divergence import OutputDivergence


def _scores(emit, x):
    flat = emit(relax.op.reshape(conv(emit, x, "a"), (1, 256)), "flat")
    return [emit(relax.op.matmul(flat, relax.const(random(256, 5))), "scores")]


def _probabilities(emit, x):
    return [emit(relax.op.nn.softmax(_scores(emit, x)[0]), "probabilities")]


def _two(emit, x):
    return [conv(emit, x, "a"), emit(relax.op.mean(conv(emit, x, "b"), [1, 2, 3], keepdims=True), "one")]


def _softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_a_cosine_sees_neither_an_offset_nor_a_size():
    expected = random(4, 1, 5)
    loss = OutputDivergence(read_network(build(_scores)), [expected])
    assert loss([3 * expected + 7]) == pytest.approx(0, abs=1e-7)
    assert loss([-expected]) == pytest.approx(2)
    assert loss([np.zeros_like(expected)]) == 1
    assert loss([np.full_like(expected, np.nan)]) == np.inf


@pytest.mark.parametrize("network", [_scores, _probabilities])
def test_entropy_is_that_of_probabilities(network):
    expected, result = random(6, 1, 5), random(6, 1, 5, seed=1)
    p, q = _softmax(expected.astype(float)), _softmax(result.astype(float))
    given = (expected, result) if network is _scores else (p.astype(np.float32), q.astype(np.float32))
    loss = OutputDivergence(read_network(build(network)), [given[0]], "entropy")
    assert loss([given[1]]) == pytest.approx(float((p * np.log(p / q)).sum(axis=-1).mean()), rel=1e-4)


def test_probabilities_count_as_the_scores_that_they_are_made_of():
    expected, result = random(6, 1, 5), random(6, 1, 5, seed=1)
    of_scores = OutputDivergence(read_network(build(_scores)), [expected])([result])
    of_probabilities = OutputDivergence(read_network(build(_probabilities)), [_softmax(expected)])([_softmax(result)])
    assert of_probabilities == pytest.approx(of_scores, rel=1e-4)


def test_several_outputs_count_alike():
    expected = [random(3, 1, 4, 8, 8), random(3, 1, 1, 1, 1)]
    loss = OutputDivergence(read_network(build(_two)), expected)
    assert loss([-expected[0], expected[1]]) == pytest.approx(1)
    assert loss([expected[0], np.zeros_like(expected[1])]) == pytest.approx(0.5)


@pytest.mark.parametrize(("network", "shapes"), [(_scores, [(1, 5)]), (_two, [(1, 4, 8, 8), (1, 1, 1, 1)])])
@pytest.mark.parametrize("measure", ["cosine", "entropy"])
def test_gradients(network, shapes, measure):
    expected = [random(3, *shape, seed=k) for k, shape in enumerate(shapes)]
    results = [x + random(*x.shape, seed=9) for x in expected]
    loss = OutputDivergence(read_network(build(network)), expected, measure)
    found = loss.gradients(results, np.arange(3))
    for k, gradient in enumerate(found):
        way = 1e-2 * random(*gradient.shape, seed=5)
        there, back = ([x + sign * way if i == k else x for i, x in enumerate(results)] for sign in (1, -1))
        assert np.vdot(gradient, way) == pytest.approx(3 * (loss(there) - loss(back)) / 2, rel=0.02, abs=1e-6)
