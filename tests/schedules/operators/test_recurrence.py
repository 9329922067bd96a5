"""The kernel of recurrent layers; that it computes what ONNX defines is tested where ONNX's nodes are imported."""

import numpy as np
import pytest
import tvm

from eq_tvm.schedules.operators.gate_functions import GateFunction
from eq_tvm.schedules.operators.recurrence import recurrence
from eq_tvm.schedules.operators.recurrence_plan import Direction, Recurrence

TANH = GateFunction("tanh")


def plan(steps=3, batch=2, hidden=5, **others):
    return Recurrence("RNN", steps, batch, hidden, (Direction(True, (TANH,)),), **others)


@pytest.mark.parametrize("hidden,blocks,width", [(5, 1, 16), (17, 1, 32), (64, 1, 64), (65, 2, 64), (256, 4, 64)])
def test_blocks_of_weights(hidden, blocks, width):
    assert plan(batch=1, hidden=hidden).weight_shape == (1, 1, blocks, hidden, width)


def test_sequences_share_the_accumulators_where_they_can():
    assert plan(batch=2, hidden=64).weight_shape == (1, 1, 2, 64, 32)
    assert plan(batch=3, hidden=64).weight_shape == (1, 1, 1, 64, 64)
    assert plan(batch=2, hidden=64, optional=frozenset({"lengths"})).weight_shape == (1, 1, 1, 64, 64)


def test_size_of_the_code_does_not_depend_on_the_length():
    short, long = (len(recurrence(plan(steps)).script().splitlines()) for steps in (2, 1000))
    assert short == long


@pytest.mark.parametrize("lengths,same", [([99, 3], [3, 3]), ([-7, 2], [0, 2])])
def test_lengths_beyond_the_sequence_touch_nothing_beyond(lengths, same):
    how, rng = plan(optional=frozenset({"lengths"})), np.random.default_rng(0)
    run = tvm.compile(recurrence(how).with_attr("global_symbol", "run"), "llvm")
    operands = [rng.standard_normal(shape).astype("float32") for shape in ((6, 5), how.weight_shape)]

    def results(lengths):
        made = [tvm.runtime.tensor(np.empty(shape, "float32")) for shape in (how.result_shape, how.state_shape)]
        run(*map(tvm.runtime.tensor, [*operands, np.array(lengths, "int32")]), *made)
        return [array.numpy() for array in made]

    for result, expected in zip(results(lengths), results(same), strict=True):
        np.testing.assert_array_equal(result, expected)
