"""Operators by their functions: normalizations keep what is small beside a large mean."""

import numpy as np
import pytest
from onnx_models import canonical, random, run_float, write_model

SHAPE = (2, 6, 5, 4)


def _normalized(x, axes, epsilon=1e-5):
    x = x.astype("float64")
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


# Constants, attributes, and what float64 gives
NORMALIZATIONS = {
    "LayerNormalization": ([random(4), random(4, seed=1)], {}, lambda x, g, b: _normalized(x, (3,)) * g + b),
    "GroupNormalization": (
        [random(6), random(6, seed=1)],
        {"num_groups": 3},
        lambda x, g, b: _normalized(x.reshape(2, 3, -1), (2,)).reshape(x.shape) * g[:, None, None] + b[:, None, None],
    ),
    "MeanVarianceNormalization": ([], {}, lambda x: _normalized(x, (0, 2, 3), 0.0)),
}


@pytest.mark.parametrize("mean", [0, -250])
@pytest.mark.parametrize("operator", NORMALIZATIONS)
def test_normalizations(operator, mean, tmp_path):
    constants, attributes, expected = NORMALIZATIONS[operator]
    x = random(*SHAPE, seed=2) + np.float32(mean)
    names = "gb"[: len(constants)]
    nodes = [(operator, " ".join(["x", *names]), "y", attributes)]
    weights = dict(zip(names, constants, strict=True))
    path = write_model(tmp_path / "m.onnx", nodes, {"x": SHAPE}, ["y"], weights, opset=21)
    (got,) = run_float(canonical(path), x)
    np.testing.assert_allclose(got, expected(x, *constants), 2e-4, 2e-4)
