"""Sources of functions, bounded and centered: the network computes the same, and its functions get finer ones."""

import numpy as np
import pytest
from interpreter import run_annotated
from small_networks import bindings, build, conv, random, run_all
from tvm import relax

from eq_tvm.passes import CenterSources, MinMaxCalibrate

FUNCTIONS = {
    "silu": lambda emit, y: emit(relax.op.nn.silu(y), "f"),
    "gelu": lambda emit, y: emit(relax.op.nn.gelu(y), "f"),
    "sigmoid": lambda emit, y: emit(relax.op.sigmoid(y), "f"),
    "hard swish": lambda emit, y: emit(
        relax.op.multiply(
            y, emit(relax.op.clip(emit(relax.op.add(y, relax.const(np.float32(3))), "more"), 0, 6), "six")
        ),
        "f",
    ),
}


def network(function):
    def make(emit, x):
        weight = 2 * random(8, 3, 3, 3)
        return [conv(emit, FUNCTIONS[function](emit, conv(emit, x, "a", weight=weight)), "last")]

    return build(make)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_computes_the_same_and_loses_less(function):
    module, images, held_out = network(function), random(12, 3, 8, 8), random(6, 3, 8, 8, seed=1)
    centered = CenterSources({"x": images}, scheme="int8")(module)
    assert "a_sum_whole" in bindings(centered)
    plain = np.stack(run_all(module, held_out))
    span = np.ptp(plain)
    assert np.abs(np.stack(run_all(centered, held_out)) - plain).max() < 0.01 * span

    def loss(mod):
        annotated = MinMaxCalibrate({"x": images}, scheme="int8")(mod)
        return np.mean(
            [(run_annotated(annotated, {"x": x[None]})[0] - y) ** 2 for x, y in zip(held_out, plain, strict=True)]
        )

    assert loss(centered) < 0.95 * loss(module)


def test_leaves_what_something_else_reads():
    def make(emit, x):
        a = conv(emit, x, "a")
        return [
            conv(emit, emit(relax.op.add(a, emit(relax.op.nn.silu(a), "f")), "sum"), "last"),
            conv(emit, a, "other"),
        ]

    module = build(make)
    assert CenterSources({"x": random(4, 3, 8, 8)})(module).same_as(module)


def test_leaves_what_is_even_already():
    def make(emit, x):
        return [
            conv(emit, emit(relax.op.tanh(conv(emit, x, "a", weight=random(4, 3, 3, 3) / 30, bias=False)), "f"), "last")
        ]

    module = build(make)
    assert CenterSources({"x": random(4, 3, 8, 8)})(module).same_as(module)
