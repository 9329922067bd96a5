"""The walk over the float and the quantized network, whose results take each other's places."""

import numpy as np
import pytest
from small_networks import build, conv, random, relu, run_all
from tvm import relax

from eq_tvm.passes import MinMaxCalibrate
from eq_tvm.passes.quantized import parallel
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.read_annotated import read_annotated
from eq_tvm.passes.quantized.simulation import Simulation


def chain(emit, x):
    """What could be overwritten is an output, is read again, or is a view."""
    a = conv(emit, x, "a", out=8)
    r = relu(emit, a, "r")
    b = conv(emit, r, "bb", out=8)
    swish = emit(relax.op.multiply(b, emit(relax.op.sigmoid(b), "sigmoid")), "swish")
    tanh = emit(relax.op.tanh(conv(emit, swish, "ccc", out=8)), "tanh")
    size = emit(relax.op.abs(tanh), "size")
    flat = emit(relax.op.reshape(size, (1, 8, 64)), "flat")
    minus = emit(relax.op.negative(size), "minus")
    return [flat, swish, minus, emit(relax.op.exp(minus), "late")]


def walked(images):
    mod = build(chain)
    annotated = MinMaxCalibrate(images)(mod)
    problem = Problem.of(mod, images, "int7", "unsigned")
    sim, seen = Simulation(problem, read_annotated(annotated, problem)), {}
    for i in sim.walk():
        seen[i] = sim.float(i).copy()
    return problem, sim, seen


@pytest.mark.parametrize("cached", [8, 2**16])
def test_nothing_is_overwritten_that_is_read_again(cached, monkeypatch):
    images = {"x": random(5, 3, 8, 8)}
    monkeypatch.setattr(Simulation, "_spare", lambda *_: None)
    _, expected, _ = walked(images)
    monkeypatch.undo()
    monkeypatch.setattr(parallel, "_CACHED", cached)
    given = images["x"].copy()
    problem, sim, seen = walked(images)
    np.testing.assert_array_equal(images["x"], given)
    results = dict(problem.executor.run(problem.net, problem.inputs))
    for i, value in seen.items():
        np.testing.assert_array_equal(value, results[i])
    assert set(sim.outputs) == set(problem.net.outputs)
    for i, pairs in sim.outputs.items():
        for pair, others in zip(pairs, expected.outputs[i], strict=True):
            for found, wanted in zip(pair, others, strict=True):
                np.testing.assert_array_equal(found, wanted)


def test_a_result_takes_the_place_of_what_only_it_reads(monkeypatch):
    monkeypatch.setattr(parallel, "_CACHED", 8)
    mod, images = build(lambda emit, x: [relu(emit, conv(emit, x, "a"), "r")]), {"x": random(5, 3, 8, 8)}
    problem = Problem.of(mod, images, "int7", "unsigned")
    sim, places = Simulation(problem, read_annotated(MinMaxCalibrate(images)(mod), problem)), []
    for i in sim.walk():
        places.append((sim.float(i).ctypes.data, sim.unquantized(i).ctypes.data))
    _, layer, bias, bound = places
    assert layer == bias == bound


def test_what_a_sum_reads_is_there_when_it_is_compared(monkeypatch):
    def make(emit, x):
        a, b = conv(emit, x, "a", out=8), relu(emit, conv(emit, x, "bb", out=8), "r")
        return [conv(emit, relu(emit, emit(relax.op.add(a, b), "sum"), "rs"), "last")]

    def alone():
        mod, images = build(make), {"x": random(5, 3, 8, 8)}
        problem = Problem.of(mod, images, "int7", "unsigned")
        sim = Simulation(problem, read_annotated(MinMaxCalibrate(images)(mod), problem))
        return [sim.alone(i).copy() for i in sim.walk() if problem.net.nodes[i].name == "sum"]

    monkeypatch.setattr(parallel, "_CACHED", 8)
    (found,) = alone()
    monkeypatch.setattr(Simulation, "_spare", lambda *_: None)
    np.testing.assert_array_equal(found, alone()[0])


def test_the_walk_computes_what_the_annotated_module_does():
    """Inputs that something reads in floats included, which is all that "minus" and "x" see."""

    def make(emit, x):
        a = conv(emit, x, "a", out=3)
        swish = emit(relax.op.multiply(x, emit(relax.op.sigmoid(x), "sigmoid")), "swish")
        return [emit(relax.op.subtract(x, a), "minus"), conv(emit, swish, "bb"), emit(relax.op.exp(x), "e"), x]

    mod, images = build(make), {"x": random(5, 3, 8, 8)}
    annotated = MinMaxCalibrate(images)(mod)
    problem = Problem.of(mod, images, "int7", "unsigned")
    sim = Simulation(problem, read_annotated(annotated, problem))
    assert {sim.net.nodes[i].name for i in sim.walk()} >= {"a", "minus", "e"}
    names = {problem.net.nodes[i].name: pairs[0] for i, pairs in sim.outputs.items()}
    expected = [np.concatenate(results) for results in zip(*run_all(annotated, images["x"]), strict=True)]
    for name, wanted in zip(("minus", "bb_sum", "e", "x"), expected, strict=True):
        np.testing.assert_allclose(names[name][1].reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(names["x"][0], names["x"][1])
    assert np.abs(names["e"][0] - names["e"][1]).max() < 1e-6
