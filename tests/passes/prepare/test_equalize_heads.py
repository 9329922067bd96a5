"""Heads of attention get even ranges, and compute the same."""

import numpy as np
import pytest
import tvm
from small_networks import build, random, run_all
from small_transformer import HEADS, SHAPE, WIDTH, transformer

from eq_tvm.passes import EqualizeHeads
from eq_tvm.passes.quantized.problem import Problem

IMAGES = {"x": random(6, *SHAPE[1:])}


def equalized(make):
    before = build(make, SHAPE)
    return before, EqualizeHeads(IMAGES, scheme="int8")(before)


def largest(mod, name):
    """Of each column of a layer's result, over all images."""
    problem = Problem.of(mod, IMAGES, "int8", "unsigned")
    (found,) = (x for i, x in problem.evaluated() if problem.net.nodes[i].name == name)
    return np.abs(found).max(axis=(0, 1))


def test_the_function_stays():
    before, after = equalized(transformer)
    others = random(3, *SHAPE[1:], seed=7)
    for expected, result in zip(run_all(before, others), run_all(after, others), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", "ab")
def test_ranges_become_even(block):
    before, after = equalized(transformer)
    queries, keys, values = largest(after, f"{block}_qkv_sum").reshape(3, WIDTH)
    np.testing.assert_allclose(queries, keys, rtol=1e-4)
    assert values.max() == pytest.approx(max(queries.max(), keys.max()), rel=1e-4)
    was = largest(before, f"{block}_qkv_sum").reshape(3, WIDTH)[2]
    assert values.max() / values.min() == pytest.approx(np.sqrt(was.max() / was.min()), rel=1e-3)


def test_queries_that_something_else_reads_stay():
    def make(emit, x):
        (result,) = transformer(emit, x)
        return [result]

    def shared(emit, x):
        seen = {}

        def note(expr, name):
            seen[name] = emit(expr, name)
            return seen[name]

        return [*make(note, x), emit(tvm.relax.op.nn.relu(seen["a_heads0"]), "seen")]

    before, after = equalized(shared)
    columns = [largest(mod, "a_qkv_sum").reshape(3, HEADS, -1) for mod in (before, after)]
    np.testing.assert_allclose(columns[1][:2], columns[0][:2], rtol=1e-5)


def test_networks_without_attention_stay():
    before, after = equalized(lambda emit, x: [emit(tvm.relax.op.nn.relu(x), "y")])
    assert after.same_as(before)
