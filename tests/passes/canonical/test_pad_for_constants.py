"""What is joined with constants is padded, and the constants are added."""

import numpy as np
from rewriting import apply, const, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.pad_for_constants import PadForConstants


def _joined(x, *before):
    return op.concat([*before, x], 1)


def test_a_class_token_and_positions_become_one_constant():
    mod = module(lambda x: op.add(_joined(x, const(1, 1, 6)), const(1, 5, 6, seed=1)), (1, 4, 6))
    assert apply(mod, PadForConstants()) == ["nn.pad", "add"]


def test_constants_on_both_sides():
    mod = module(lambda x: op.concat([const(2, 3), x, const(1, 3, seed=1)], 0), (4, 3))
    assert apply(mod, PadForConstants()) == ["nn.pad", "add"]


def test_zeros_are_padding():
    mod = module(lambda x: _joined(x, relax.const(np.zeros((1, 1, 6), "float32"))), (1, 4, 6))
    assert apply(mod, PadForConstants()) == ["nn.pad"]


def test_two_tensors_stay_joined():
    mod = module(lambda x, y: op.concat([const(2, 3), x, y], 0), (4, 3), (5, 3))
    assert apply(mod, PadForConstants()) == ["concat"]


def test_more_constants_than_anything_else_stay():
    mod = module(lambda x: _joined(x, const(1, 5, 6)), (1, 4, 6))
    assert apply(mod, PadForConstants()) == ["concat"]


def test_numbers_stay_apart():
    mod = module(lambda x: op.add(op.add(x, relax.const(3.0)), const(1, 4, 6)), (1, 4, 6))
    assert apply(mod, PadForConstants()) == ["add", "add"]
