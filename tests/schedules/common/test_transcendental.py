"""Functions without the C library, against numpy's in float64: everywhere, on each width of vectors."""

import math

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from eq_tvm.schedules.common.transcendental import without_libm
from eq_tvm.schedules.islands.fallback import fallback

NEAR = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 1, 100), -np.geomspace(1e-30, 1, 100)])
FAR = np.concatenate([np.linspace(-86, 88, 2001), np.geomspace(1e-37, 3e38, 300)])
SPECIAL = [0.0, -0.0, 1.0, -1.0, 88.72, 88.73, 200.0, -200.0, np.inf, -np.inf, np.nan, 3e38, -3e38]
X = np.resize(np.concatenate([NEAR, FAR, SPECIAL]), 6528).astype("float32")  # whole vectors

# name: (TIR, numpy's, relative and absolute tolerance)
FUNCTIONS = {
    "exp": (tirx.exp, np.exp, 2e-7, 2e-38),
    "log": (tirx.log, np.log, 2e-7, 1e-7),
    "tanh": (tirx.tanh, np.tanh, 0, 4e-7),
    "erf": (tirx.erf, np.vectorize(math.erf), 0, 4e-7),
    "sigmoid": (tirx.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 3e-7, 2e-38),
    "square": (lambda x: tirx.pow(x, tirx.const(2, "float32")), np.square, 2e-7, 2e-38),
    "root": (lambda x: tirx.pow(x, tirx.const(0.5, "float32")), np.sqrt, 2e-7, 2e-38),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(cpu, folder, name):
    make, reference, relative, absolute = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        want = reference(X.astype("float64")).astype("float32")
    (got,) = cpu.run(folder, [(fallback(_of_elements(make), cpu.bits // 32), [X])])
    np.testing.assert_allclose(got, want, rtol=relative, atol=absolute)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_no_library(name):
    assert "T.exp(" in _of_elements(tirx.exp).script()
    text = tvm.tirx.build(
        without_libm(_of_elements(FUNCTIONS[name][0])).with_attr("global_symbol", "k"), tvm.target.Target("llvm")
    ).inspect_source()
    assert not {f"@{call}" for call in ("expf", "logf", "tanhf", "erff", "powf", "llvm.exp", "llvm.pow")} & set(
        text.replace("(", " ").split()
    )


def test_other_powers_stay():
    func = _of_elements(lambda x: tirx.pow(x, tirx.const(2.5, "float32")))
    assert "T.pow(" in without_libm(func).script()


def test_doubles_stay():
    x = te.placeholder((8,), "float64", "x")
    func = te.create_prim_func([x, te.compute((8,), lambda i: tirx.exp(x[i]))])
    assert "T.exp(" in without_libm(func).script()


def _of_elements(make):
    x = te.placeholder(X.shape, "float32", "x")
    return te.create_prim_func([x, te.compute(X.shape, lambda i: make(x[i]))])
