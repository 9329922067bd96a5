"""How close two engines' results are."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-3  # relative; sums of a thousand float32 products differ by 1e-6
_SMALL = 1e-6  # absolute: sigmoids that are almost 0 differ by that much between runtimes


def worst_error(results: Arrays, expected: Arrays) -> float:
    """The largest relative error of all outputs; infinite for other shapes, dtypes, NaN and infinities."""
    return max(_error(ours, theirs) for ours, theirs in zip(results.values(), expected.values(), strict=True))


def are_near(results: Arrays, expected: Arrays) -> bool:
    """Whether all that is expected is there but for 1e-6."""
    return all(_distance(results[name], theirs) <= _SMALL for name, theirs in expected.items())


def is_close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two results are equal up to rounding; integers may differ where a decision was close."""
    return _error(ours, theirs) <= TOLERANCE


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of floats of one shape; infinite for others."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype or theirs.dtype.kind != "f" or not ours.size:
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    distance = float(np.abs(ours.astype(np.float64) - theirs).max())
    return distance if np.isfinite(distance) else float("inf")


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return float("inf")
    if not ours.size:
        return 0.0
    if theirs.dtype.kind != "f":
        return float(np.mean(ours != theirs)) / 10
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
        return float("inf")
    scale = np.sqrt(np.mean(np.square(theirs[finite]))) if finite.any() else 0.0
    return float(np.sqrt(np.mean(np.square(ours[finite] - theirs[finite]))) / (scale or 1.0)) if finite.any() else 0.0
