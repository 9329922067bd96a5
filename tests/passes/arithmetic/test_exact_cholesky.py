"""The Cholesky decomposition in multiples of a unit."""

import numpy as np
import pytest

from eq_tvm.passes.arithmetic.exact_cholesky import exact_cholesky


@pytest.mark.parametrize("size", [1, 9, 200])
def test_is_that_of_lapack(size):
    rows = np.random.default_rng(size).standard_normal((3, size, 2 * size)) * np.logspace(0, -4, size)[:, None]
    gram = rows @ rows.transpose(0, 2, 1)
    root, lengths = np.linalg.cholesky(gram), np.sqrt(np.einsum("gkk->gk", gram))
    np.testing.assert_allclose(exact_cholesky(gram) / lengths[..., None], root / lengths[..., None], atol=1e-6)


def test_products_of_rows_are_exact():
    rows = np.random.default_rng(0).standard_normal((150, 200))
    gram = rows @ rows.T
    gram /= np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    np.fill_diagonal(gram, 1)
    root = exact_cholesky(gram)
    np.testing.assert_array_equal(root * 2**26 % 1, 0)
    order = np.random.default_rng(1).permutation(150)
    np.testing.assert_array_equal(root[:, order] @ root[:, order].T, root @ root.T)


def test_a_singular_matrix():
    assert np.isfinite(exact_cholesky(np.ones((1, 80, 80)))).all()
