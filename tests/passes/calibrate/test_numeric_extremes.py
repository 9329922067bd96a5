"""Weights and images of extreme magnitudes: no warning, no NaN, the integer program, and near what is possible."""

import warnings

import numpy as np
import pytest
import tvm
from covering import covering
from interpreter import run_annotated
from small_networks import build, random
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes.analysis.float_reference import FloatReference
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.targets import get_target

ONES = np.ones((8, 1, 1, 1), np.float32)
ALIVE = (np.arange(8) < 7).astype(np.float32).reshape(ONES.shape)
SPREAD = np.logspace(0, -6, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
OUTLIER = np.where(np.arange(216).reshape(8, 3, 3, 3) == 67, 1e6, 1)
IMAGES = random(6, 3, 8, 8, seed=7)


def network(first=1.0, last=1.0, bias=0.1, between=lambda layer, activate, x: x, activation="relu"):
    """Two convolutions, and something between; weights are multiplied by `first` and `last`."""

    def make(emit, x):
        def layer(x, weight, name, bias=0.0, summand=None, **attrs):
            weight = np.asarray(weight, np.float32)
            y = emit(relax.op.nn.conv2d(x, relax.const(weight), padding=1, **attrs), name)
            bias = relax.const(random(1, len(weight), 1, 1, seed=3) * np.float32(bias))
            y = emit(relax.op.add(y, bias), f"{name}_b")
            return y if summand is None else emit(relax.op.add(y, summand), f"{name}_sum")

        def activate(x):
            slopes = relax.const(np.linspace(0.1, 0.4, int(x.ty.shape[1]), dtype=np.float32))
            made = {
                "relu": lambda: relax.op.nn.relu(x),
                "relu6": lambda: relax.op.clip(x, 0, 6),
                "prelu": lambda: relax.op.nn.prelu(x, slopes, 1),
                "silu": lambda: relax.op.nn.silu(x),
                "none": lambda: x,
            }[activation]()
            return x if activation == "none" else emit(made, "activation")

        a = between(layer, activate, activate(layer(x, random(8, 3, 3, 3, seed=1) * first / 5, "a", bias)))
        return [layer(a, random(5, 8, 3, 3, seed=2) * last / 8, "last", bias)]

    return build(make)


def depthwise(layer, activate, x):
    return activate(layer(x, random(8, 1, 3, 3, seed=4) / 3, "depthwise", groups=8))


def residual(layer, activate, x):
    weight = random(8, 8, 3, 3, seed=5) * SPREAD / SPREAD.reshape(1, -1, 1, 1) / 8
    return activate(layer(x, weight, "inner", summand=x))


# name: (network, images, cosine at INT8)
CASES = {
    "weights of 1e30": (network(1e30), IMAGES, 0.999),
    "weights of 1e-30": (network(1e-30), IMAGES, 0.999),
    "1e30 and then 1e-30": (network(1e30, 1e-30), IMAGES, 0.999),
    "1e-30 and then 1e30": (network(1e-30, 1e30, bias=0), IMAGES, 0.999),
    "denormal weights": (network(1e-39), IMAGES, 0.999),
    "weights of 0": (network(0), IMAGES, 0.999),
    "one outlier": (network(OUTLIER), IMAGES, 0.999),
    "dead channels": (network(np.arange(8).reshape(ONES.shape) % 3), IMAGES, 0.999),
    "a large bias": (network(bias=1e10), IMAGES, 0.999),
    "large images": (network(), IMAGES * np.float32(1e20), 0.999),
    "small images": (network(bias=0), IMAGES * np.float32(1e-20), 0.999),
    "constant images": (network(), np.ones_like(IMAGES), 0.999),
    "images of zeros": (network(), np.zeros_like(IMAGES), 0.999),
    "one image": (network(), IMAGES[:1], 0.999),
    "large weights of a channel that is 0": (network(ALIVE, 1e6 ** (1 - ALIVE.reshape(1, -1, 1, 1)), 0), IMAGES, 0.999),
}
ACROSS = {  # channels that differ by a million, of which what is behind needs each as much
    f"{activation}, {name}": (
        network(SPREAD, 1 / SPREAD.reshape(1, -1, 1, 1), 0, between, activation),
        IMAGES,
        0.998,
    )
    for activation in ("relu", "relu6", "prelu", "none")
    for name, between in (("alone", lambda *given: given[-1]), ("depthwise", depthwise), ("residual", residual))
}


def check(case, scheme, method):
    mod, images, cosine = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        annotated, _ = pipeline.calibrate(mod, {"x": images}, scheme=scheme, method=method)
    executable, _ = pipeline.build(annotated, get_target("native", None))
    run = relax.VirtualMachine(executable, tvm.cpu())["main"]
    (expected,) = FloatReference(mod).outputs(Problem.of(mod, {"x": images}, scheme, "unsigned").inputs)
    for image, wanted in zip(images[:, None], expected, strict=True):
        (result,) = run_annotated(annotated, {"x": image})
        np.testing.assert_array_equal(run(tvm.runtime.tensor(image)).numpy(), result)
        assert np.isfinite(result).all()
        result, wanted = result.astype(np.float64), wanted.astype(np.float64)
        lengths = np.sqrt(np.square(result).sum() * np.square(wanted).sum())
        lost = 1 - (result * wanted).sum() / lengths if lengths else result.any() != wanted.any()
        assert lost <= (1 - cosine) * (1 if scheme == "int8" else 4)


@pytest.mark.parametrize("case, scheme", covering([*CASES], ["int7", "int8"]))
def test_extremes(case, scheme):
    check(CASES[case], scheme, "mse+")


@pytest.mark.parametrize("case", ["relu, alone", "relu6, depthwise", "prelu, residual"])
def test_channels_that_differ_by_a_million(case):
    check(ACROSS[case], "int8", "mse+")


def test_what_no_scale_can_hold_is_said():
    """Behind a SiLU channels have to keep their sizes; the record tells how many are lost, and a layer kept is well."""
    mod = network(SPREAD, 1 / SPREAD.reshape(1, -1, 1, 1), 0, activation="silu")
    records = {}
    for name, kept in (("without", {}), ("with", {"last": "float"})):
        _, found = pipeline.calibrate(mod, {"x": IMAGES}, scheme="int8", method="mse+", kept=kept)
        records[name] = {record.layer: record for record in found}
    lost = records["without"]["last"]
    assert lost.lost_channels >= 3 and lost.cosine_after < 0.9 and records["without"]["a"].lost_channels == 0
    assert records["with"].keys() == {"a"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["minmax+", "easyquant+", "kl+"])
@pytest.mark.parametrize("case", CASES)
def test_extremes_by_other_methods(case, method):
    check(CASES[case], "int8", method)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scheme", ["int7", "int8"])
@pytest.mark.parametrize("case", ACROSS)
def test_channels_that_differ_by_a_million_across(case, scheme):
    check(ACROSS[case], scheme, "mse+")
