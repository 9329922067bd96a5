"""Integers and scales that real weights are products of."""

import numpy as np

_LIMIT = 127  # of magnitudes; -128 where weights have it
_CLOSE = 2e-4  # steps: what rounding to float32 leaves of integers, a folded batch norm's scale between


def on_grid(weight: np.ndarray, scales: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """The integers that a layer's real weights were dequantized from, and their scales.

    Parameters
    ----------
    weight : numpy.ndarray (O, K) float32
        Of each output channel.
    scales : numpy.ndarray (O,) or (1,) float32, optional
        What was found to have been the scales, before anything behind the layer was folded into it. Where they are not
        (any more), and without, the finest ones are taken whose products the weights are: several fit only channels
        whose integers have a common factor, such as those of a single weight.

    Returns
    -------
    integers : numpy.ndarray (O, K) int8
    scales : numpy.ndarray (O,) float32
        Or None, where some channel's weights are no products of one scale by integers from -128 to 127.
    """
    largest: np.ndarray = np.abs(weight.astype(np.float64)).max(axis=1, initial=0.0)
    found = np.asarray(np.where(largest > 0, 0.0, 1.0))  # zeros are 0 in any scale
    if scales is not None and scales.size in (1, len(weight)):
        given = np.broadcast_to(scales, found.shape).astype(np.float64)
        found = np.where(_fits(weight, given), given, found)
    for steps in (_LIMIT, _LIMIT + 1, *range(_LIMIT - 1, 0, -1)):
        missing = np.flatnonzero(found == 0)
        if not missing.size:
            break
        tried = (largest[missing] / steps).astype(np.float32).astype(np.float64)
        fits = _fits(weight[missing], tried)
        found[missing[fits]] = tried[fits]
    if not found.all():
        return None
    return np.rint(weight / found[:, None]).astype(np.int8), found.astype(np.float32)


def _fits(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """For which channels all weights are such products."""
    steps = weight / np.maximum(scales, np.finfo(np.float32).tiny)[:, None]
    integers = np.rint(steps)
    inside = (integers >= -_LIMIT - 1) & (integers <= _LIMIT)
    return (inside & (np.abs(steps - integers) <= _CLOSE)).all(axis=1)
