"""Products of inputs, and how much of them some images tell."""

import numpy as np
from small_networks import build, conv, random
from tvm import relax

from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.refine import input_moments as input_moments_module
from eq_tvm.passes.refine.input_moments import image_shares, input_moments


def dense(k):
    return read_network(
        build(
            lambda emit, x: [
                emit(relax.op.matmul(emit(relax.op.reshape(x, (1, k)), "flat"), relax.const(random(k, 4))), "fc")
            ]
        )
    ).nodes[-1]


def moments(node, q, centered=True):
    output = q.reshape(len(q), 1, -1).astype(np.float32) @ node.constant
    return input_moments(node, q, np.float32(0.5), output, centered, 0), image_shares(output)


def test_of_all_positions_of_a_convolution():
    net = read_network(build(lambda emit, x: [conv(emit, x, "a", weight=random(4, 3, 1, 1), bias=False)]))
    q = np.random.default_rng(0).integers(-9, 10, (2000, 1, 3, 8, 8)).astype(np.int8)
    output = np.ones((len(q), 1, 4, 10, 10), np.float32)
    found = input_moments(net.nodes[-1], q, np.float32(0.5), output, True, 0)
    x = 0.5 * np.pad(q, [(0, 0)] * 3 + [(1, 1)] * 2).transpose(2, 0, 1, 3, 4).reshape(3, -1)  # as the convolution
    expected = np.cov(x, bias=True) * x.shape[1]
    np.testing.assert_allclose(np.diag(found[0][0]), np.diag(expected), rtol=1e-4)
    off = ~np.eye(3, dtype=bool)
    assert (np.abs(found[0][0][off]) <= np.abs(expected[off]) + 1).all()


def test_products_of_independent_inputs_are_shrunk_more():
    node, rng = dense(192), np.random.default_rng(1)
    independent = rng.integers(-60, 61, (40, 1, 3, 8, 8)).astype(np.int8)
    off = ~np.eye(192, dtype=bool)
    for q, least, most in ((independent, 0.1, 0.3), (np.repeat(independent[:, :, :, :, :1], 8, axis=4), 0.4, 1)):
        found, shares = moments(node, q)
        x = 0.5 * q.reshape(40, -1).astype(np.float64)
        x -= np.average(x, axis=0, weights=shares)
        expected = (x * shares[:, None]).T @ x
        kept = np.linalg.norm(found[0][0][off]) / np.linalg.norm(expected[off])
        assert least <= kept <= most


def test_one_image_and_dead_inputs():
    node = dense(192)
    for q in (np.ones((1, 1, 3, 8, 8), np.int8), np.zeros((5, 1, 3, 8, 8), np.int8)):
        for centered in (True, False):
            assert np.isfinite(moments(node, q, centered)[0][0]).all()


def test_many_inputs_come_in_parts(monkeypatch):
    node, q = dense(192), np.random.default_rng(1).integers(-60, 61, (9, 1, 3, 8, 8)).astype(np.int8)
    (whole,) = moments(node, q)[0]
    monkeypatch.setattr(input_moments_module, "_LARGEST", 80)
    parts = moments(node, q)[0]
    assert [part.shape for part in parts] == [(1, 64, 64)] * 3
    for part, start in zip(parts, (0, 64, 128), strict=True):
        of_whole = whole[:, start : start + 64, start : start + 64]
        np.testing.assert_allclose(np.diagonal(part[0]), np.diagonal(of_whole[0]), rtol=1e-5)
