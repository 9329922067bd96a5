"""Choices by a constant mask in front of softmax become sums."""

import numpy as np
import pytest
from rewriting import apply, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_masks import RecoverMasks

MASK = np.tril(np.ones((4, 4), bool))
NUMBERS = {"infinite": -np.inf, "float32's": np.finfo("float32").min, "-1e4": -1e4}


def chosen(x, mask=MASK, low=-np.inf, inverted=False):
    number = relax.const(np.float32(low))
    return op.where(relax.const(~mask), number, x) if inverted else op.where(relax.const(mask), x, number)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("low", NUMBERS)
def test_in_front_of_softmax(low, inverted):
    made = module(lambda x: op.nn.softmax(chosen(x, low=NUMBERS[low], inverted=inverted), -1), (3, 4, 4))
    assert apply(made, RecoverMasks()) == ["add", "nn.softmax"]


def test_behind_a_reshape():
    made = module(lambda x: op.nn.softmax(op.reshape(chosen(x), (12, 4)), -1), (3, 4, 4))
    assert apply(made, RecoverMasks()) == ["add", "reshape", "nn.softmax"]


OTHERS = {
    "another reader": lambda x: chosen(x),
    "another axis": lambda x: op.nn.softmax(chosen(x), 1),
    "a number that scores may reach": lambda x: op.nn.softmax(chosen(x, low=-100.0), -1),
    "a row without a score": lambda x: op.nn.softmax(chosen(x, np.zeros((4, 4), bool), -1e9), -1),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_stays(form):
    assert "where" in apply(module(OTHERS[form], (3, 4, 4)), RecoverMasks())


def _safe(x, mask=None, scale=None):
    """As torch's exporter writes attention with a mask."""
    scores = op.matmul(x, op.permute_dims(x, [0, 2, 1]))
    scores = scores if scale is None else op.multiply(scores, relax.const(scale))
    shares = op.nn.softmax(scores if mask is None else op.add(scores, relax.const(mask)), -1)
    return op.where(op.isnan(shares), relax.const(np.float32(0)), shares)


LOW = np.where(MASK, np.float32(0), np.float32(-np.inf))


@pytest.mark.parametrize("form", [{}, {"scale": 0.5}, {"mask": LOW}, {"mask": LOW, "scale": 0.5}])
def test_behind_softmax(form):
    assert "where" not in apply(module(lambda x: _safe(x, **form), (3, 4, 4)), RecoverMasks())


def test_a_row_that_is_masked_keeps_its_choice():
    nothing = np.where(np.arange(4)[:, None] > 0, np.float32(0), np.float32(-np.inf)) * np.ones(4, np.float32)
    assert "where" in apply(module(lambda x: _safe(x, nothing), (3, 4, 4)), RecoverMasks())
