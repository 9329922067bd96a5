"""Rounding with error feedback: on the grid, and nearer to the wanted output than rounding to the nearest."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.passes.refine.optimal_rounding import round_weights, search_rounding


def problem(seed, groups, outputs, k, rows=300):
    """Weights, scales that clip none of them, and correlated inputs."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((groups, outputs, k)).astype(np.float32)
    x = rng.standard_normal((groups, rows, k)) @ rng.standard_normal((groups, k, k)) + 1
    return weight, np.abs(weight).max(axis=2) / 15, x


def error(x, weight, approximation):
    return np.square(x @ (approximation - weight).transpose(0, 2, 1)).sum(axis=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.integers(1, 12))
def test_integers_in_range(seed, groups, outputs, k):
    weight, scale, x = problem(seed, groups, outputs, k)
    q = round_weights(weight, scale, x.transpose(0, 2, 1) @ x, 15)
    np.testing.assert_array_equal(q, np.rint(q))
    assert np.abs(q).max() <= 15


def test_less_error_than_the_nearest():
    weight, scale, x = problem(0, 2, 16, 150)  # more than two blocks
    q = round_weights(weight, scale, x.transpose(0, 2, 1) @ x, 15)
    nearest = np.rint(weight / scale[..., None])
    found, expected = (error(x, weight, a * scale[..., None]) for a in (q, nearest))
    assert (found < expected).mean() > 0.95
    assert found.sum() < 0.5 * expected.sum()


def test_one_weight_at_a_time_as_the_algorithm_says():
    weight, scale, x = problem(1, 1, 4, 70)
    gram = x.transpose(0, 2, 1) @ x
    k = gram.shape[1]
    damped = gram[0] + 0.01 * np.trace(gram[0]) / k * np.eye(k)
    order = np.argsort(-np.diag(gram[0]), kind="stable")
    w, expected = weight[0].astype(np.float64), np.zeros((4, k))
    left = list(order)
    for j in order:  # the best update of all that is left, from the inverse for what is left
        inverse = np.linalg.inv(damped[np.ix_(left, left)])
        expected[:, j] = np.clip(np.rint(w[:, j] / scale[0]), -15, 15)
        w[:, left] -= np.outer((w[:, j] - expected[:, j] * scale[0]) / inverse[0, 0], inverse[0])
        left.remove(j)
    np.testing.assert_array_equal(round_weights(weight, scale, gram, 15)[0], expected)


def test_uncorrelated_inputs_and_dead_ones_round_to_the_nearest():
    weight, scale, _ = problem(2, 2, 3, 5)
    for gram in (np.eye(5) * np.ones((2, 1, 1)), np.zeros((2, 5, 5))):
        np.testing.assert_array_equal(round_weights(weight, scale, gram, 15), np.rint(weight / scale[..., None]))


def test_each_channel_takes_the_best_candidate():
    weight, scale, x = problem(3, 2, 6, 20)
    gram = x.transpose(0, 2, 1) @ x
    candidates = scale[..., None] * np.array([1.5, 1.0, 0.95])
    q, chosen = search_rounding(weight, candidates, [gram], 15)
    each = [round_weights(weight, candidates[..., n], gram, 15) for n in range(3)]
    ridge = 0.01 * np.trace(gram, axis1=1, axis2=2)[:, None] / 20
    errors = []
    for n, a in enumerate(each):
        approximation = a * candidates[..., n, None]
        errors.append(error(x, weight, approximation) + ridge * np.square(approximation - weight).sum(axis=2))
    best = np.argmin(errors, axis=0)
    assert len(set(best.ravel())) > 1
    np.testing.assert_array_equal(chosen, np.take_along_axis(candidates, best[..., None], 2)[..., 0])
    np.testing.assert_array_equal(q, np.choose(best[..., None], each))


def test_parts_of_the_inputs_share_a_scale():
    weight, scale, x = problem(4, 2, 6, 20)
    candidates = scale[..., None] * np.array([1.5, 1.0, 0.95])
    grams = [part.transpose(0, 2, 1) @ part for part in (x[..., :13], x[..., 13:])]
    q, chosen = search_rounding(weight, candidates, grams, 15)
    for part, gram in ((slice(13), grams[0]), (slice(13, None), grams[1])):
        np.testing.assert_array_equal(q[..., part], round_weights(weight[..., part], chosen, gram, 15))
    whole = np.zeros((2, 20, 20))
    whole[:, :13, :13], whole[:, 13:, 13:] = grams
    assert (chosen == search_rounding(weight, candidates, [whole], 15)[1]).mean() > 0.8


def test_sums_of_rows_are_even_where_one_is_beyond():
    """In two parts, of whole rows; channels of small sums are as they would be."""
    weight, _, x = problem(5, 1, 16, 90)
    weight[:, ::2] = np.abs(weight[:, ::2]) + 1  # as neighbours in trained kernels, they do not make up for each other
    candidates = np.abs(weight).max(axis=2)[..., None] / 63 * np.array([1.0, 0.8])
    grams = [part.transpose(0, 2, 1) @ part for part in (x[..., :36], x[..., 36:])]
    free, scale = search_rounding(weight, candidates, [each.copy() for each in grams], 63)
    q, chosen = search_rounding(weight, candidates, grams, 63, 127)
    rows, before = (each[0].reshape(16, -1, 3).astype(int) for each in (q, free))
    odd = (rows.sum(axis=2) % 2).any(axis=1)
    small = (np.abs(before).sum(axis=2) <= 127).all(axis=1)
    assert 4 <= small.sum() <= 12 and not odd[~small].any() and odd[small].any()
    np.testing.assert_array_equal(q[:, small], free[:, small])
    np.testing.assert_array_equal(chosen[:, small], scale[:, small])
    assert np.abs(q).max() == 63
    evened = free[0].copy()  # all errors are made up for, but those of a last weight that is changed when all are found
    evened[:, 2::3] -= np.where(evened[:, 2::3] > 0, 1, -1) * (before.sum(axis=2) % 2).astype("int8")
    ours, theirs = (error(x, weight, a * s[..., None]) for a, s in ((q, chosen), (evened[None], scale)))
    assert ours[:, ~small].sum() < 0.7 * theirs[:, ~small].sum()
