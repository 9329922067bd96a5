"""Functions of gates, against numpy's in float64, also far out and near 0."""

import numpy as np
import pytest
import tvm
from tvm import te

from eq_tvm.schedules.operators.gate_functions import FUNCTIONS, GateFunction

X = np.concatenate([np.linspace(-100, 100, 401), np.linspace(-10, 10, 2001), np.geomspace(1e-6, 1, 50)]).astype(
    "float32"
)
EXPECTED = {
    "affine": lambda x: 0.5 * x + 0.25,
    "elu": lambda x: np.where(x >= 0, x, 0.5 * np.expm1(x)),
    "hardsigmoid": lambda x: np.clip(0.5 * x + 0.25, 0, 1),
    "leakyrelu": lambda x: np.where(x >= 0, x, 0.5 * x),
    "relu": lambda x: np.maximum(x, 0),
    "scaledtanh": lambda x: 0.5 * np.tanh(0.25 * x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
    "thresholdedrelu": lambda x: np.where(x > 0.5, x, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    x = te.placeholder(X.shape, "float32", "x")
    function = te.create_prim_func([x, te.compute(X.shape, lambda i: GateFunction(name, 0.5, 0.25)(x[i]), "y")])
    result = tvm.runtime.tensor(np.empty_like(X))
    tvm.compile(function, "llvm")(tvm.runtime.tensor(X), result)
    np.testing.assert_allclose(result.numpy(), EXPECTED[name](X.astype("float64")), rtol=1e-6, atol=3e-7)
