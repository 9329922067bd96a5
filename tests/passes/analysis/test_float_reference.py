"""Quantized outputs are measured against the network as it was imported, whatever preparation made of it."""

import numpy as np
from small_networks import build, network, random, run_all

from eq_tvm.passes import MinMaxCalibrate, analyze_layers, compare_outputs
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.graph.rebuild import replace_constants

IMAGES = {"x": random(6, 3, 8, 8, seed=7)}


def test_a_loss_of_preparation_is_seen():
    imported = build(network)
    net = read_network(imported)
    other = {i: -net.nodes[i].constant for i in net.layers()[-1:]}  # what no preparation should do
    prepared = replace_constants(imported, net, other)
    annotated = MinMaxCalibrate(IMAGES)(prepared)
    ((pair,),) = compare_outputs(prepared, annotated, [IMAGES], imported=imported)
    expected = np.stack(run_all(imported, IMAGES["x"]))
    np.testing.assert_allclose(pair[0], expected, rtol=1e-4, atol=1e-4)
    ((own,),) = compare_outputs(prepared, annotated, [IMAGES])
    np.testing.assert_array_equal(own[1], pair[1])
    assert np.abs(own[0] - pair[0]).max() > 0.1 * np.abs(expected).max()
    cosines = [analyze_layers(prepared, annotated, IMAGES, imported=i)["cosine"] for i in (None, imported)]
    assert cosines[0] > 0.99 > cosines[1]
