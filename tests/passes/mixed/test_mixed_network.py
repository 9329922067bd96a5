"""Networks put together of others that were quantized, and what their layers lose."""

import numpy as np
import pytest
from onnx_models import canonical, random, write_model

from eq_tvm import pipeline
from eq_tvm.passes import compare_outputs
from eq_tvm.passes.mixed.layer_types import TYPES
from eq_tvm.passes.mixed.mixed_network import MixedNetwork
from eq_tvm.passes.mixed.nuclear import nuclear_errors
from eq_tvm.passes.mixed.sensitivity import INPUTS, WEIGHTS, mean_square_error, output_errors
from eq_tvm.passes.mixed.units import units

IMAGES = {"x": random(12, 3, 12, 12, seed=4)}
OPTIONS = {"activation_range": "unsigned", "method": "mse+"}


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Two layers that read one tensor, a sum, and a layer that comes to next to nothing in it."""
    nodes = [
        ("Conv", "x a p", "t0", {"pads": [1] * 4}),
        ("Relu", "t0", "t1", {}),
        ("Conv", "t1 b", "t2", {"pads": [1] * 4}),
        ("Conv", "t1 c q", "t3", {}),
        ("Add", "t2 t3", "t4", {}),
        ("Relu", "t4", "t5", {}),
        ("Conv", "t5 d", "y", {}),
    ]
    weights = {
        "a": random(16, 3, 3, 3),
        "p": random(16, seed=8),
        "b": 1e-4 * random(16, 16, 3, 3),
        "c": random(16, 16, 1, 1),
        "q": random(16, seed=9),
        "d": random(4, 16, 1, 1),
    }
    path = write_model(tmp_path_factory.mktemp("net") / "net.onnx", nodes, {"x": (1, 3, 12, 12)}, ["y"], weights)
    return canonical(path)


@pytest.fixture(scope="module")
def prepared(module):
    return pipeline.prepare(module, IMAGES, scheme="int7", **OPTIONS)


@pytest.fixture(scope="module")
def annotated(prepared):
    return {scheme: pipeline.quantize(prepared, IMAGES, scheme=scheme, **OPTIONS)[0] for scheme in ("int7", "int8")}


def error_of(prepared, annotated, scheme, kept=None):
    pairs = compare_outputs(prepared, annotated, [IMAGES], scheme=scheme, kept=kept)
    return float(np.mean([mean_square_error(*pair) for each in pairs for pair in each]))


def test_readers_of_one_tensor_have_one_type(prepared):
    assert [set(unit) >= {"n2", "n3"} for unit in units(prepared)].count(True) == 1
    assert sorted(name for unit in units(prepared) for name in unit) == ["n0", "n2", "n3", "n4", "n6"]


def test_one_type_everywhere_is_the_network_that_was_quantized(prepared, annotated):
    mixed = MixedNetwork(prepared, annotated, IMAGES)
    for scheme, mod in annotated.items():
        assert mixed.error(scheme, {}) == pytest.approx(error_of(prepared, mod, scheme), rel=0.02)


@pytest.mark.parametrize("scheme", ["w7a8", "w8a7"])
def test_types_between_are_put_together(prepared, annotated, scheme):
    whole, _ = pipeline.quantize(prepared, IMAGES, scheme=scheme, **OPTIONS)
    mixed = MixedNetwork(prepared, annotated, IMAGES)
    assert mixed.error(scheme, {}) == pytest.approx(error_of(prepared, whole, scheme), rel=0.1)
    assert mixed.error("int8", {}) < mixed.error(scheme, {}) < mixed.error("int7", {})


def test_a_mixture_is_near_to_what_calibration_makes_of_it(prepared, annotated):
    kept = dict.fromkeys(("n2", "n3", "n4"), "int8")
    whole, _ = pipeline.quantize(prepared, IMAGES, scheme="int7", kept=kept, **OPTIONS)
    mixed = MixedNetwork(prepared, annotated, IMAGES)
    assert mixed.error("int7", kept) == pytest.approx(error_of(prepared, whole, "int7", kept), rel=0.1)


def test_a_layer_that_somebody_kept_stays(prepared):
    """At a type that no whole network here has."""
    kept = {"n6": "int6"}
    annotated = {
        scheme: pipeline.quantize(prepared, IMAGES, scheme=scheme, kept=kept, **OPTIONS)[0]
        for scheme in ("int7", "int8")
    }
    mixed = MixedNetwork(prepared, annotated, IMAGES, kept=kept)
    expected = error_of(prepared, annotated["int8"], "int8", kept)
    assert mixed.error("int8", {"n6": "int8"}) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("weigh", [output_errors, nuclear_errors])
def test_what_layers_lose(prepared, annotated, weigh):
    """More at fewer bits, but of the image, which has 8; the layer that hardly counts loses least."""
    found = {scheme: weigh(prepared, annotated[scheme], IMAGES, scheme=scheme) for scheme in annotated}
    for layer, parts in found["int7"].items():
        assert set(parts) == ({INPUTS} if layer == "n4" else {INPUTS, WEIGHTS})
        for part, error in parts.items():
            of_int8 = found["int8"][layer][part]
            assert error == of_int8 if (layer, part) == ("n0", INPUTS) else error > 2 * of_int8 > 0
    least = min(found["int7"], key=lambda layer: sum(found["int7"][layer].values()))
    assert least == "n2"


def test_types_and_what_they_are_made_of():
    """Weights and activations of the bits that the name says."""
    from eq_tvm.passes.quantized.quantizers import WEIGHT_LIMITS, activation_range_of

    for scheme, (weights, inputs) in TYPES.items():
        assert WEIGHT_LIMITS[scheme] == WEIGHT_LIMITS[weights]
        for positive in (True, False):
            assert activation_range_of(scheme, "unsigned", positive) == activation_range_of(
                inputs, "unsigned", positive
            )
