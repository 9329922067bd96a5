"""How close two engines' results are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.inputs.number_kind import number_kind

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


def in_order(results: Arrays, expected: Arrays, outputs: Iterable[TensorInfo]) -> Arrays:
    """Results whose rows come as those that are expected, where what they are sorted by can't tell them apart.

    Rows of as many as the data choose are sorted by one of the outputs, as a rule. Where two rows have nearly the same
    number there, roundings decide which comes first.

    Parameters
    ----------
    results, expected : dict of str to numpy.ndarray
    outputs : iterable of TensorInfo
        Which of them have rows that belong together.

    Returns
    -------
    dict of str to numpy.ndarray
        The results as they are, where no output tells that the order is by its numbers.
    """
    groups: dict[str, dict[str, int]] = {}
    for info in outputs:
        if info.rows is not None and info.name in expected:
            groups.setdefault(info.rows.count, {})[info.name] = info.rows.axis
    ordered = dict(results)
    for axes in groups.values():
        ours, theirs = (
            {name: np.moveaxis(arrays[name], axis, 0) for name, axis in axes.items()} for arrays in (results, expected)
        )
        if any(ours[name].shape != theirs[name].shape for name in axes) or not _sorted_by(ours, theirs):
            continue
        places = _places(*(np.hstack([_flat(part[name], theirs[name]) for name in axes]) for part in (ours, theirs)))
        ordered |= {name: results[name].take(places, axis) for name, axis in axes.items()}
    return ordered


def _sorted_by(ours: Arrays, theirs: Arrays) -> bool:
    """Whether an output of one number for each row is sorted, and close row by row."""
    return any(
        number_kind(array.dtype) == "f"
        and array.size == len(array)
        and (np.diff(array.reshape(-1)) <= 0).all()
        and is_close(ours[name], array)
        for name, array in theirs.items()
    )


def _flat(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    scale = np.abs(expected.astype(np.float64)).max(initial=0.0)
    return rows.reshape(len(rows), -1).astype(np.float64) / (scale or 1.0)


def _places(ours: np.ndarray, theirs: np.ndarray) -> list[int]:
    """For each row that is expected, the place of ours: of those that differ, the nearest that is left."""
    places = list(range(len(ours)))
    left = [i for i in places if np.abs(ours[i] - theirs[i]).max(initial=0.0) > TOLERANCE]
    for row in list(left):
        places[row] = min(left, key=lambda i: float(np.abs(ours[i] - theirs[row]).sum()))
        left.remove(places[row])
    return places


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of floats of one shape; infinite for others."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype or number_kind(theirs.dtype) != "f" or not ours.size:
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    distance = float(np.abs(ours.astype(np.float64) - theirs).max())
    return distance if np.isfinite(distance) else float("inf")


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return float("inf")
    if not ours.size:
        return 0.0
    if number_kind(theirs.dtype) != "f":
        return float(np.mean(ours != theirs)) / 10
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
        return float("inf")
    scale = np.sqrt(np.mean(np.square(theirs[finite]))) if finite.any() else 0.0
    return float(np.sqrt(np.mean(np.square(ours[finite] - theirs[finite]))) / (scale or 1.0)) if finite.any() else 0.0
