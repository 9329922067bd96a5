"""Functions of single elements in the kernels before them: which ones, and the same results."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from small_networks import build, conv, random
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.targets import get_target


def _silu(emit, y, _x):
    return [emit(relax.op.multiply(y, emit(relax.op.sigmoid(y), "s")), "out")]


def _hard_swish(emit, y, _x):
    gate = emit(relax.op.clip(emit(relax.op.add(y, relax.const(3.0)), "a"), 0, 6), "c")
    return [emit(relax.op.multiply(emit(relax.op.multiply(y, gate), "m"), relax.const(np.float32(1 / 6))), "out")]


def _gelu_of_a_sum(emit, y, x):
    half = emit(relax.op.multiply(x, relax.const(0.5)), "half")
    return [emit(relax.op.nn.gelu(emit(relax.op.add(half, y), "sum")), "out")]


def _two_readers(emit, y, _x):
    s = emit(relax.op.sigmoid(y), "s")
    return [emit(relax.op.multiply(y, s), "out"), emit(relax.op.nn.max_pool2d(s, (2, 2)), "pool")]


def _later_operand(emit, y, x):
    other = conv(emit, x, "z", out=8)
    return [emit(relax.op.multiply(emit(relax.op.tanh(y), "t"), other), "out")]


def _leaky(emit, y, _x):
    return [emit(relax.op.power(emit(relax.op.nn.leakyrelu(y, 0.3), "l"), relax.const(2.0)), "out")]


def _nested(emit, y, _x):
    """More than TVM's passes get through in minutes, if one kernel did it all."""
    for i in range(8):
        y = emit(relax.op.tanh(emit(relax.op.multiply(y, relax.const(1.5)), f"m{i}")), f"t{i}")
    return [y]


def _joined(emit, y, _x):
    first, second = (
        emit(relax.op.nn.max_pool2d(y, (size, size), padding=(size // 2, size // 2)), f"pool{size}") for size in (3, 5)
    )
    joined = emit(relax.op.concat([first, second], 1), "joined")
    return [emit(relax.op.multiply(joined, relax.const(0.5)), "out"), second]


# What follows a convolution, and what its kernels' names end in.
NETWORKS = {
    "silu": (_silu, ["sigmoid_multiply"]),
    "hard_swish": (_hard_swish, ["add_clip_multiply_multiply"]),
    "gelu_of_a_sum": (_gelu_of_a_sum, ["gelu"]),
    "two_readers": (_two_readers, ["float32"]),
    "later_operand": (_later_operand, ["tanh", "multiply"]),
    "joined": (_joined, ["float32"]),
    "nested": (_nested, ["multiply_tanh_multiply_tanh_multiply"]),
    "leaky": (_leaky, ["leakyrelu_power"]),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layer", ["conv", "depthwise"])
def test_results_and_kernels(name, layer):
    make, ends = NETWORKS[name]
    how = {"groups": 8, "weight": random(8, 1, 3, 3)} if layer == "depthwise" else {"out": 8}
    mod = build(lambda emit, x: make(emit, conv(emit, x, "y", **how), x), (1, 8, 8, 8))
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype("float32")
    want = _run(tvm.compile(relax.transform.LegalizeOps()(mod), "llvm"), x)
    lowered, _ = pipeline.lower(mod, get_target("x86"))
    names = {var.name_hint for var in lowered.get_global_vars()}
    kernels = [name for name in names if re.match("conv", name)]
    assert sorted(end for end in ends if any(name.endswith(end) for name in kernels)) == sorted(ends), names
    got = _run(pipeline.executable(lowered, get_target("x86")), x)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def _run(executable, x):
    results = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
    return [result.numpy() for result in ([results] if hasattr(results, "numpy") else results)]
