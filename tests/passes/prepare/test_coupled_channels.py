"""Which channels are coupled, and which can't be scaled."""

import numpy as np
from small_networks import bindings, build, conv, random, relu, run_all
from small_transformer import SHAPE, WIDTH, transformer
from tvm import relax

from eq_tvm.passes import EqualizeChannels
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.graph.rewrite import array, operator_name
from eq_tvm.passes.prepare.coupled_channels import CoupledChannels


def coupled_of(make):
    net = read_network(build(make))
    coupled = CoupledChannels(net)
    return coupled, {node.name: coupled.classes.get(i) for i, node in enumerate(net.nodes)}


def free(coupled, classes):
    return not coupled.frozen & set(classes.tolist())


def test_layers_separate_channels_and_the_rest_passes_them_on():
    def make(emit, x):
        a = emit(relax.op.nn.max_pool2d(relu(emit, conv(emit, x, "a", out=8), "ra"), (2, 2), (2, 2)), "pool")
        b = emit(relax.op.clip(conv(emit, a, "bb", weight=random(8, 1, 3, 3), groups=8), 0, 6), "rb")
        return [conv(emit, b, "c")]

    coupled, classes = coupled_of(make)
    assert (classes["a"] == classes["pool"]).all() and free(coupled, classes["a"])
    assert (classes["bb"] == classes["rb"]).all() and free(coupled, classes["bb"])
    assert not set(classes["a"]) & set(classes["bb"])
    assert not free(coupled, classes["x"]) and not free(coupled, classes["c"])


def test_additions_tie_and_concatenations_append():
    def make(emit, x):
        a, b = (relu(emit, conv(emit, x, name, out=4), f"r{name}") for name in ("a", "bb"))
        both = emit(relax.op.concat([a, b], axis=1), "both")
        total = emit(relax.op.add(conv(emit, both, "c", out=8), both), "total")
        padded = emit(relax.op.nn.pad(total, [0, 0, 2, 1, 0, 0, 0, 0]), "padded")
        return [conv(emit, padded, "d", weight=random(4, 11, 3, 3))]

    coupled, classes = coupled_of(make)
    assert (np.concatenate([classes["ra"], classes["rbb"]]) == classes["both"]).all()
    assert (classes["c"] == classes["both"]).all() and (classes["total"] == classes["both"]).all()
    assert (classes["padded"][2:10] == classes["total"]).all() and len(set(classes["padded"])) == 11
    assert free(coupled, classes["padded"])


def test_flattened_channels_stand_side_by_side():
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        flat = emit(relax.op.reshape(a, (1, 4 * 64)), "flat")
        return [emit(relax.op.matmul(flat, relax.const(random(256, 5))), "fc")]

    coupled, classes = coupled_of(make)
    assert (classes["flat"].reshape(4, 64) == classes["ra"][:, None]).all() and free(coupled, classes["flat"])


def test_what_no_factor_commutes_with_is_frozen():
    def make(emit, x):
        a, b, c = (conv(emit, x, name) for name in ("a", "bb", "c"))
        low = emit(relax.op.clip(a, -1, 6), "low")
        curved = emit(relax.op.sigmoid(b), "curved")
        permuted = emit(relax.op.permute_dims(c, [0, 2, 1, 3]), "permuted")
        e = conv(emit, x, "eeeee")
        mirrored = conv(emit, emit(relax.op.strided_slice(e, [1], [3], [-9], [-1]), "mirrored"), "mm")
        d = conv(emit, low, "d", out=8)
        grouped = conv(emit, d, "grouped", weight=random(4, 4, 3, 3), groups=2)
        return [conv(emit, curved, "e"), conv(emit, grouped, "f"), permuted, mirrored]

    coupled, classes = coupled_of(make)
    for name in ("a", "bb", "c", "d", "curved", "eeeee", "mirrored"):
        assert not free(coupled, classes[name])


def test_layer_normalization_takes_the_factors_of_its_result():
    net = read_network(build(transformer, SHAPE))
    coupled = CoupledChannels(net)
    classes = {node.name: coupled.classes.get(i) for i, node in enumerate(net.nodes)}
    assert free(coupled, classes["a_norm"]) and len(set(classes["a_norm"])) == WIDTH
    assert not free(coupled, classes["stream"])


def test_what_layer_normalization_makes_is_equalized():
    """With gamma and beta: the network computes the same."""
    before = build(transformer, SHAPE)
    after = EqualizeChannels({"x": random(6, *SHAPE[1:])}, scheme="int8")(before)
    norms = [
        [value for value in bindings(mod).values() if operator_name(value) == "relax.nn.layer_norm"]
        for mod in (before, after)
    ]
    assert any(not np.allclose(*(array(norm.args[1]) for norm in pair)) for pair in zip(*norms, strict=True))
    images = random(2, *SHAPE[1:], seed=7)
    for expected, result in zip(run_all(before, images), run_all(after, images), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
