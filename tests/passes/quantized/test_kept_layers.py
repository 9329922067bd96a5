"""Networks of mixed types: layers kept at INT8 or float among INT7 ones."""

import re

import numpy as np
import pytest
import tvm
from covering import covering
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run_annotated
from small_networks import LAYERS, bindings, build, conv, network, pairs, random, relu, run, run_all
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes import EasyQuantCalibrate, MinMaxCalibrate, MSECalibrate, RoundWeights
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.quantizers import WEIGHT_LIMITS
from eq_tvm.passes.quantized.read_annotated import read_annotated
from eq_tvm.passes.quantized.simulation import Simulation
from eq_tvm.targets import get_target


def images(count=20):
    return {"x": random(count, 3, 8, 8, seed=7)}


def compiled(annotated, image, target="x86"):
    main = relax.VirtualMachine(pipeline.build(annotated, get_target(target))[0], tvm.cpu())["main"]
    return main(tvm.runtime.tensor(image)).numpy()


def weights(annotated, name):
    found = bindings(annotated).get(f"{name}_weight_dq")
    return None if found is None else found.args[0].value.numpy().astype(int)


def test_ranges_of_an_int8_layer_among_int7():
    annotated = MinMaxCalibrate(images(), kept={"c": "int8"})(build(network))
    assert {name: np.abs(weights(annotated, name)).max() for name in ("a", "bb", "c", "d", "fc")} == {
        "a": 63,
        "bb": 63,
        "c": 127,
        "d": 63,
        "fc": 63,
    }
    ranges = {name: pair[:3] for name, pair in pairs(annotated).items()}
    assert ranges == {
        "x": ("int8", -127, 127),
        "ra": ("int8", 0, 127),
        "rb": ("uint8", 0, 255),
        "rc": ("int8", 0, 127),
        "rd": ("int8", 0, 127),
        "mean": ("int8", 0, 127),
    }


@pytest.mark.parametrize("kind, high, limit", [("int7", 127, 63), ("w8a7", 127, 127), ("w7a8", 255, 63)])
def test_ranges_of_a_narrow_layer_among_int8(kind, high, limit):
    annotated = MinMaxCalibrate(images(), scheme="int8", kept={"c": kind})(build(network))
    assert np.abs(weights(annotated, "c")).max() == limit and np.abs(weights(annotated, "d")).max() == 127
    assert {name: pair[2] for name, pair in pairs(annotated).items() if name in ("rb", "rc")} == {"rb": high, "rc": 255}


def test_an_addition_kept_at_int8_widens_what_it_reads():
    annotated = MinMaxCalibrate(images(), kept={"add": "int8"})(build(network))
    wide = {name for name, (dtype, *_) in pairs(annotated).items() if dtype == "uint8"}
    assert wide == {"ra"}


def test_a_float_layer_is_not_annotated():
    calibrate = MinMaxCalibrate(images(), kept={"c": "float", "fc": "float"})
    annotated = calibrate(build(network))
    assert weights(annotated, "c") is None and weights(annotated, "fc") is None and weights(annotated, "d") is not None
    assert [(r.layer, r.scheme) for r in calibrate.record] == [("a", "int7"), ("bb", "int7"), ("d", "int7")]
    # "rb" and the mean are read by float layers only; "c" gives a float result, which the addition reads
    assert set(pairs(annotated)) == {"x", "ra", "c_sum", "rc", "rd"}


def test_all_float_is_the_float_network():
    mod = build(network)
    image = images()["x"][:1]
    for method in (MinMaxCalibrate, EasyQuantCalibrate, MSECalibrate):
        annotated = method(images(4), kept=dict.fromkeys(LAYERS, "float"))(mod)
        assert not pairs(annotated)
    np.testing.assert_array_equal(run(annotated, image), run(mod, image))


@settings(max_examples=6)
@given(
    st.sets(st.sampled_from(LAYERS)),
    st.sampled_from([MinMaxCalibrate, EasyQuantCalibrate, MSECalibrate]),
    st.sampled_from(["unsigned", "symmetric"]),
)
def test_kernels_compute_the_integer_program_of_mixed_networks(wide, method, activation_range):
    options = {"kept": dict.fromkeys(wide, "int8"), "activation_range": activation_range}
    mod = build(network)
    calibrated = method(images(4), **options)(mod)
    for annotated in (calibrated, RoundWeights(mod, images(4), **options)(calibrated)):
        image = random(1, 3, 8, 8, seed=9)
        np.testing.assert_array_equal(compiled(annotated, image), run_annotated(annotated, {"x": image})[0])


def test_kernels_compute_the_integer_program_behind_a_float_layer():
    """Its sums are exact in float32, in whatever order they are added."""
    grid = lambda array, steps: np.float32(np.rint(array * steps) / steps)  # noqa: E731

    def make(emit, x):
        a = relu(emit, conv(emit, x, "a", weight=grid(random(8, 3, 3, 3), 16), bias=False), "ra")
        return [conv(emit, relu(emit, conv(emit, a, "bb"), "rb"), "c")]

    inputs = {"x": grid(images()["x"], 32)}
    annotated = MinMaxCalibrate(inputs, kept={"a": "float", "c": "int8"})(build(make))
    assert weights(annotated, "a") is None and "x" not in pairs(annotated)
    for image in inputs["x"][:3, None]:
        np.testing.assert_array_equal(compiled(annotated, image), run_annotated(annotated, {"x": image})[0])


@pytest.mark.parametrize(
    "kept",
    [
        {"bb": "float"},
        {"c": "float", "add": "int8"},
        {"add": "float"},
        {"mean": "float"},
        {"d": "float", "mean": "float", "fc": "float"},
    ],
)
def test_simulation_and_kernels_of_float_islands(kept):
    mod, image = build(network), images()["x"][:1]
    annotated = MinMaxCalibrate(images(), kept=kept)(mod)
    problem = Problem.of(mod, {"x": image}, "int7", "unsigned", kept)
    sim = Simulation(problem, read_annotated(annotated, problem))
    simulated = next(sim.unquantized(i)[0] for i in sim.walk() if i == problem.net.outputs[0])
    result = compiled(annotated, image)
    np.testing.assert_allclose(result, simulated, atol=0.02 * np.abs(simulated).max())
    np.testing.assert_allclose(result, run_annotated(annotated, {"x": image})[0], atol=0.02 * np.abs(result).max())


def squeeze_and_excite(emit, x):
    a = conv(emit, x, "a", out=8)
    swish = emit(relax.op.multiply(a, emit(relax.op.sigmoid(a), "sigmoid")), "swish")
    mean = emit(relax.op.mean(swish, [2, 3], keepdims=True), "mean")
    squeezed = emit(relax.op.nn.conv2d(mean, relax.const(random(8, 8, 1, 1))), "bb")
    return [conv(emit, emit(relax.op.multiply(swish, emit(relax.op.sigmoid(squeezed), "gate")), "product"), "c")]


@pytest.mark.parametrize("layer, kind", covering(["a", "mean", "bb", "product", "c"], ["int8", "float"]))
def test_products_and_functions(layer, kind):
    mod, image = build(squeeze_and_excite), images()["x"][:1]
    annotated = MinMaxCalibrate(images(), kept={layer: kind})(mod)
    result, (expected,) = compiled(annotated, image), run_annotated(annotated, {"x": image})
    if kind == "int8":
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_allclose(result, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_allclose(result, run(mod, image), atol=0.1 * np.abs(expected).max())


def test_wider_is_closer():
    mod, x = build(network), images()["x"]
    expected, errors = np.array(run_all(mod, x)), []
    for kept in ({}, dict.fromkeys(LAYERS, "int8"), dict.fromkeys(LAYERS[1:], "float")):
        errors.append(np.square(run_all(MinMaxCalibrate(images(), kept=kept)(mod), x) - expected).mean())
    assert errors[0] > errors[1] > errors[2] > 0


def test_unknown_layers_are_refused():
    for kept, message in [
        ({"ad": "int8"}, "no layer 'ad' to keep at int8; of 7 there are add"),
        ({"ra": "float"}, "no layer 'ra' to keep at float; of 7 there are a"),
        ({"c": "int9"}, f"layer 'c' can be kept at {', '.join(WEIGHT_LIMITS)} or float, not at 'int9'"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            MinMaxCalibrate(images(), kept=kept)(build(network))
