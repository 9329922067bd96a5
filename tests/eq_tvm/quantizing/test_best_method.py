"""Which method is taken where nobody asked for one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from eq_tvm import passes, pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.building.recorded import quantize
from eq_tvm.example import MODEL
from eq_tvm.options.declared import QuantizeOptions
from eq_tvm.quantizing.best_method import calibrate
from eq_tvm.quantizing.goal import Goal
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.targets import get_target

IMAGES = {"x": np.zeros((2, 1), np.float32)}


@pytest.fixture
def methods(monkeypatch):
    """Calibrations that say how close each of their outputs' parts comes, and what was run."""
    cosines, ran, layers = {}, [], []
    monkeypatch.setattr(pipeline, "prepare", lambda module, images, *, method, **_: method)
    monkeypatch.setattr(pipeline, "quantize", lambda prepared, images, *, method, **_: (ran.append(method), layers))
    monkeypatch.setattr(pipeline, "write_phase", lambda *_: None)
    monkeypatch.setattr(passes, "compare_outputs", lambda prepared, annotated, batches, **_: list(batches))
    monkeypatch.setattr(passes, "part_cosines", lambda prepared, results: cosines[prepared])
    return SimpleNamespace(cosines=cosines, ran=ran, layers=layers)


@pytest.mark.parametrize(
    ("default", "plainest", "taken"),
    [
        ([1.0, 0.9995], None, "mse+"),  # close enough: nothing to compare
        ([1.0, 0.9], [0.98, 0.96], "minmax"),  # the worst part counts
        ([0.97, 0.95], [1.0, 0.955], "mse+"),  # hardly better
        ([0.97, 0.95], [0.96, 0.94], "mse+"),
    ],
)
def test_what_keeps_the_worst_part_clearly_closer(default, plainest, taken, methods):
    methods.cosines |= {"mse+": default, "minmax": plainest}
    how = Quantization.checked(QuantizeOptions())
    found = calibrate(None, IMAGES, IMAGES, how, lambda done, message: None)
    assert found.how.method == found.prepared == taken
    assert methods.ran == ["mse+"] if plainest is None else ["mse+", "minmax"]
    assert found.compared == ({} if plainest is None else {"mse+": min(default), "minmax": min(plainest)})


def test_what_was_widened_is_not_compared(methods):
    methods.cosines |= {"mse+": [0.9], "minmax": [1.0]}
    methods.layers.append(SimpleNamespace(layer="a", scheme="w8a12"))
    how = Quantization.checked(QuantizeOptions())
    assert calibrate(None, IMAGES, IMAGES, how, lambda done, message: None).how.method == "mse+"
    assert methods.ran == ["mse+"]


@pytest.mark.parametrize(("plainest", "seen"), [(0.5, 4), (0.9, 8), (1.0, 8)])
def test_no_more_samples_are_simulated_than_it_takes_to_tell(plainest, seen, methods, monkeypatch):
    """Of 8: with 0.5 in half of them, the mean of cosines stays below 0.85 whatever the others have."""
    simulated = []

    def compare(prepared, annotated, batches, **_):
        for batch in batches:
            simulated.append((prepared, len(batch["x"])))
            yield batch

    monkeypatch.setattr(passes, "compare_outputs", compare)
    methods.cosines |= {"mse+": [0.8], "minmax": [plainest]}
    samples = {"x": np.zeros((8, 1), np.float32)}
    found = calibrate(None, IMAGES, samples, Quantization.checked(QuantizeOptions()), lambda done, message: None)
    assert sum(count for prepared, count in simulated if prepared == "minmax") == seen
    assert found.compared["minmax"] == pytest.approx(plainest)


@pytest.mark.parametrize("options", [{"method": "mse+"}, {"method": "kl"}, {"calibration": "random"}])
def test_a_method_that_was_asked_for_is_taken(options, methods):
    how = Quantization.checked(QuantizeOptions(**options))
    found = calibrate(None, IMAGES, IMAGES, how, lambda done, message: None)
    assert methods.ran == [found.how.method] and not found.compared


def test_the_record_says_it():
    """Of a real network, at six bits."""
    module, inputs, _ = import_canonical(MODEL)
    how = replace(Quantization.checked(QuantizeOptions(images=3)), scheme="int6")
    _, record, _ = quantize(module, inputs, how, get_target("native"), "speed", Goal(), None, None, lambda *_: None)
    assert set(record["compared"]) == {"mse+", "minmax"}
    best = max(record["compared"], key=record["compared"].get)
    assert record["method"] in {best, "mse+"}
