"""Networks of many kinds: each compiles in each scheme, and is close to ONNX Runtime.

Their weights are random: they say that a kind of network works, not what becomes of the accuracy of a trained one.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from covering import usual
from generated import NETWORKS, write
from onnx import helper, numpy_helper

import eq_tvm

COSINE = {"float32": 0.99999, "int8": 0.995, "int7": 0.99}
ROWS = {"yolo": [4]}  # where the output is cut: boxes in pixels, then scores up to 1
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
USUAL = [("squeezenet", "int8")]  # of the light models, in every run of the tests
FLOAT = {"attention", "mobilenet_v3"}  # networks that every run also has in float32


@pytest.mark.parametrize(
    "name, scheme",
    [
        pytest.param(name, scheme, marks=usual(scheme == ("int8", "int7")[number % 2] or name in FLOAT))
        for number, name in enumerate(NETWORKS)
        for scheme in COSINE
    ],
)
def test_generated(name, scheme, tmp_path):
    shape, _ = NETWORKS[name]
    outputs = results(write(name, tmp_path / f"{name}.onnx"), scheme, smooth(10, shape), tmp_path)
    if name in ROWS:
        outputs = [np.split(output, ROWS[name], axis=2) for output in outputs]
    else:
        outputs = [[output] for output in outputs]
    for part, reference in zip(*outputs, strict=True):
        assert cosine(part, reference) >= COSINE[scheme]


@pytest.mark.parametrize(
    "name, scheme",
    [
        pytest.param(name, scheme, marks=usual((name, scheme) in USUAL))
        for name in sorted(path.stem.removeprefix("light_") for path in LIGHT.glob("*.onnx"))
        for scheme in COSINE
    ],
)
def test_light_models_of_onnx(name, scheme, tmp_path):
    """The networks of its model zoo that the onnx package has without weights: with random ones."""
    model = tmp_path / f"{name}.onnx"
    write_with_weights(LIGHT / f"light_{name}.onnx", model)
    result, reference = results(model, scheme, smooth(5, (1, 3, 224, 224)), tmp_path)
    assert cosine(result, reference) >= COSINE[scheme]


def results(model, scheme, samples, folder):
    """For the last two samples what eq_tvm computes, calibrated with the others, and ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    np.savez(folder / "calibration.npz", images=samples[:-2])
    bundle = eq_tvm.compile(
        model, calibration=folder / "calibration.npz", scheme=scheme, output=folder / "network.eqtvm"
    )
    compiled = eq_tvm.load(bundle)
    computed = [next(iter(compiled.run(sample).values())) for sample in samples[-2:]]
    return np.stack(computed), np.stack([session.run(None, {name: sample})[0] for sample in samples[-2:]])


def smooth(count, shape):
    """Noise in which neighbours are alike, as in pictures and sound: (count, *shape)."""
    noise = np.random.default_rng(0).standard_normal((count, *shape))
    for axis in range(3, noise.ndim):
        noise = sum(np.roll(noise, shift, axis) for shift in range(3)) / 3**0.5
    return noise.astype("float32")


def cosine(a, b):
    assert a.shape == b.shape and np.isfinite(b).all() and b.std() > 0
    a, b = a.ravel().astype("float64"), b.ravel().astype("float64")
    return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300)


def write_with_weights(source, path):
    """In place of the constants that a light model fills its weights with."""
    model, random = onnx.load(source), np.random.default_rng(0)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shape = shapes[node.input[0]]
            if len(shape) > 1:
                weights = np.sqrt(2 / np.prod(shape[1:])) * random.standard_normal(shape)
            else:  # biases, and what batch norms scale by
                weights = random.uniform(0.5, 1, shape)
            value = numpy_helper.from_array(weights.astype("float32"))
            node.CopyFrom(helper.make_node("Constant", [], node.output, value=value))
    onnx.save(model, path)
