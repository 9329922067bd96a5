"""Channels of linear activations, shifted to the middle of their range."""

import numpy as np
import pytest
import tvm
from small_networks import build, conv, pairs, random, relu
from tvm import relax

from eq_tvm.passes import CenterChannels, MinMaxCalibrate
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.float_executor import FloatExecutor
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.read_annotated import read_annotated
from eq_tvm.passes.quantized.simulation import Simulation

IMAGES = {"x": random(30, 3, 8, 8, seed=7)}
FAR = np.float32([60, -70, 80, 0, 50, -40]).reshape(1, -1, 1, 1)  # biases that are large beside what they are added to


def linear(emit, x, name, out=6, bias=FAR, kernel=1, **attrs):
    """A convolution without padding."""
    groups = attrs.get("groups", 1)
    weight = relax.const(random(out, int(x.ty.shape[1]) // groups, kernel, kernel, seed=len(name)))
    y = emit(relax.op.nn.conv2d(x, weight, **attrs), name)
    return y if bias is None else emit(relax.op.add(y, relax.const(bias[:, :out])), f"{name}_sum")


def stage(emit, x):
    """A bottleneck, and two residual blocks behind it."""
    x = linear(emit, relu(emit, conv(emit, x, "a"), "ra"), "p")
    for name in ("bb", "ccc"):
        inner = relu(emit, linear(emit, x, f"{name}_up"), f"{name}_r")
        x = emit(relax.op.add(linear(emit, inner, f"{name}_down"), x), f"{name}_total")
    return [linear(emit, x, "last")]


def values(mod):
    net = read_network(mod)
    found = FloatExecutor(mod).run(net, {0: IMAGES["x"][:, None]})
    return {net.nodes[i].name: value for i, value in found}, net


def end(mod):
    found, net = values(mod)
    return found[net.nodes[net.outputs[0]].name]


def middles(value):
    x = value.reshape(len(value), value.shape[2], -1)
    least, largest, mean = x.min(axis=(0, 2)), x.max(axis=(0, 2)), x.mean(axis=(0, 2))
    return (mean + (least + largest) / 2) / 2


def error(mod, annotated):
    problem = Problem.of(mod, IMAGES, "int7", "unsigned")
    sim = Simulation(problem, read_annotated(annotated, problem))
    last = problem.net.outputs[0]
    return next(np.square(sim.unquantized(i) - sim.float(i)).mean() for i in sim.walk() if i == last)


def test_a_residual_stage():
    mod = build(stage)
    centered = CenterChannels(IMAGES)(mod)
    np.testing.assert_allclose(end(centered), end(mod), rtol=1e-4, atol=1e-3)
    found, _ = values(centered)
    for name in ("p_sum", "bb_total", "ccc_total"):
        np.testing.assert_allclose(middles(found[name]), 0, atol=1e-4)
    before, after = (MinMaxCalibrate(IMAGES)(m) for m in (mod, centered))
    for name in ("p_sum", "bb_total", "ccc_total"):
        assert pairs(after)[name][:3] == ("int8", -63, 63)
        assert pairs(after)[name][3] < 0.9 * pairs(before)[name][3]
    assert error(centered, after) < 0.7 * error(mod, before)


@pytest.mark.parametrize("kind", ["depthwise", "grouped", "dense"])
def test_kinds_of_readers(kind):
    def make(emit, x):
        if kind == "dense":
            flat = emit(relax.op.reshape(relu(emit, conv(emit, x, "a"), "ra"), (1, 4 * 64)), "flat")
            hidden = emit(relax.op.matmul(flat, relax.const(random(256, 6))), "p")
            hidden = emit(relax.op.add(hidden, relax.const(FAR.reshape(-1))), "p_sum")
            last = emit(relax.op.matmul(hidden, relax.const(random(6, 5))), "q")
            return [emit(relax.op.add(last, relax.const(random(5))), "q_sum")]
        p = linear(emit, relu(emit, conv(emit, x, "a"), "ra"), "p")
        groups = {"depthwise": 6, "grouped": 2}[kind]
        return [linear(emit, p, "q", kernel=3, groups=groups)]

    mod = build(make)
    centered = CenterChannels(IMAGES)(mod)
    np.testing.assert_allclose(end(centered), end(mod), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(middles(values(centered)[0]["p_sum"]), 0, atol=1e-4)


def test_additions_without_a_bias_of_their_own():
    """A sum of what others read, too, has the offset of its operands; twice the same tensor has twice its offset."""

    def make(emit, x):
        a, b = (linear(emit, relu(emit, conv(emit, x, name), f"r{name}"), f"{name}_down") for name in ("a", "bb"))
        total = emit(relax.op.add(a, b), "total")
        twice = emit(relax.op.add(total, total), "twice")
        rest = [linear(emit, y, name) for y, name in ((a, "from_a"), (b, "from_b"), (total, "from_total"))]
        for y in rest:
            twice = emit(relax.op.add(twice, y), f"{y.name}_added")
        return [linear(emit, twice, "last")]

    mod = build(make)
    centered = CenterChannels(IMAGES)(mod)
    np.testing.assert_allclose(end(centered), end(mod), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(middles(values(centered)[0]["a_down_sum"]), 0, atol=1e-4)


@pytest.mark.parametrize("reader", ["padding", "relu", "pool", "no bias", "an output"])
def test_what_stays_as_it_is(reader):
    def make(emit, x):
        p = linear(emit, relu(emit, conv(emit, x, "a"), "ra"), "p")
        if reader == "an output":
            return [p, linear(emit, p, "q")]
        if reader == "no bias":
            return [linear(emit, p, "q", bias=None)]
        between = {
            "padding": lambda: p,
            "relu": lambda: relu(emit, p, "r"),
            "pool": lambda: emit(relax.op.nn.avg_pool2d(p, (3, 3), padding=(1, 1)), "pool"),
        }
        return [conv(emit, between[reader](), "q")]

    mod = build(make)
    tvm.ir.assert_structural_equal(CenterChannels(IMAGES)(mod), mod)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_is_left_to_the_calibration():
    def make(emit, x):
        return [linear(emit, linear(emit, x, "p", bias=np.full_like(FAR, np.inf)), "q")]

    mod = build(make)
    assert CenterChannels(IMAGES)(mod).same_as(mod)
