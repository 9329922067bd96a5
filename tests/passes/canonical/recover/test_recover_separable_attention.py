"""Separable attention as exporters write it becomes a product of matrices, which computes the same."""

import pytest
from rewriting import apply, module
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_separable_attention import RecoverSeparableAttention

SHAPES = [(2, 5, 4, 6), (2, 5, 4, 6), (2, 1, 4, 6)]  # values, keys, scores


def _context(keys, scores, axis=-1):
    return op.sum(op.multiply(keys, op.nn.softmax(scores, axis=-1)), [axis], keepdims=True)


FORMS = {
    "plain": lambda v, k, s: op.multiply(v, _context(k, s)),
    "expanded": lambda v, k, s: op.multiply(op.broadcast_to(_context(k, s), SHAPES[0]), v),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    found = apply(module(FORMS[form], *SHAPES), RecoverSeparableAttention())
    assert set(found) == {"nn.softmax", "reshape", "permute_dims", "matmul", "multiply"}


OTHERS = {
    "a sum over another axis": lambda v, k, s: op.multiply(v, _context(k, s, axis=2)),
    "no softmax": lambda v, k, s: op.multiply(v, op.sum(op.multiply(k, s), [-1], keepdims=True)),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_none_stays(form):
    assert "sum" in apply(module(OTHERS[form], *SHAPES), RecoverSeparableAttention())
