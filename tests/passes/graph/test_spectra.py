"""Layers whose result's logarithm, or magnitude, counts."""

import numpy as np
import pytest
from small_networks import build, conv, pairs, random, relu, run_all
from tvm import relax

from eq_tvm.passes import MinMaxCalibrate
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.graph.spectra import layers_of_spectra

SHAPE = (1, 1, 1, 512)


def spectrum(emit, x, layers=2):
    """Sums of squares of filtered and windowed sound, which has few loud tones."""
    low = emit(relax.op.nn.conv2d(x, relax.const(np.full((1, 1, 1, 2), 0.5, np.float32))), "low")
    time, frequency = np.arange(64), np.arange(1, 17)[:, None]
    waves = [f(time * frequency * np.pi / 32) * np.hanning(64) for f in (np.sin, np.cos)]
    powers = []
    for name, wave in zip(("sin", "cos"), waves, strict=True):
        weight = relax.const(wave[:, None, None].astype(np.float32))
        part = emit(relax.op.nn.conv2d(low, weight, strides=(1, 16)), name)
        powers.append(emit(relax.op.multiply(part, part), f"{name}_square"))
    return emit(relax.op.add(*powers), "power")


def decibels(emit, x):
    power = emit(relax.op.add(spectrum(emit, x), relax.const(np.float32(1e-6))), "floor")
    heard = emit(relax.op.log(power), "log")
    return [conv(emit, relu(emit, conv(emit, heard, "a"), "ra"), "bb")]


def powers(emit, x):
    return [conv(emit, spectrum(emit, x), "a")]


def magnitudes(emit, x):
    return [conv(emit, emit(relax.op.sqrt(spectrum(emit, x)), "magnitude"), "a")]


def deep_logarithm(emit, x):
    a = relu(emit, conv(emit, x, "a"), "ra")
    return [emit(relax.op.log(emit(relax.op.exp(conv(emit, a, "bb")), "e")), "y"), conv(emit, x, "c")]


SPECTRAL = ["low", "sin", "cos"]


@pytest.mark.parametrize(
    ("make", "names"), [(decibels, SPECTRAL), (magnitudes, SPECTRAL), (powers, []), (deep_logarithm, [])]
)
def test_layers_between_an_input_and_a_logarithm(make, names):
    assert layers_of_spectra(read_network(build(make, SHAPE))) == names


def test_they_stay_float_unless_asked_for():
    time = np.arange(512)
    pitches = np.random.default_rng(0).uniform(0.1, 1, (20, 1))
    images = {"x": (np.sin(time * pitches) + 1e-3 * random(20, 512)).astype(np.float32)[:, None, None]}
    mod = build(decibels, SHAPE)
    expected, errors = np.array(run_all(mod, images["x"][:4])), []
    for kept in ({}, dict.fromkeys(("low", "sin", "cos"), "int8")):
        annotated = MinMaxCalibrate(images, scheme="int8", kept=kept)(mod)
        assert ("x" in pairs(annotated)) == bool(kept)
        errors.append(np.square(run_all(annotated, images["x"][:4]) - expected).mean())
    assert errors[0] < 0.01 * errors[1]
