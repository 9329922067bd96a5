"""Mean average precision, as COCO defines it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eq_tvm.tasks.boxes import Boxes, area, intersections

OVERLAPS = np.linspace(0.5, 0.95, 10)  # intersections over unions from which on a box counts as found
RECALLS = np.linspace(0, 1, 101)  # at which the precision is averaged
MOST = 100  # boxes of an image and a class that count, as COCO has it


@dataclass(frozen=True)
class Truth:
    """What is in one image.

    Attributes
    ----------
    corners : np.ndarray (N, 4)
    classes : np.ndarray (N,)
    crowd : np.ndarray (N,)
        Truth values: boxes around many objects. What is found there counts neither for nor against.
    """

    corners: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


def average_precision(
    found: Sequence[Boxes], truth: Sequence[Truth], most: int | None = MOST
) -> dict[str, float | None]:
    """How well boxes found in some images are those that are there.

    The definition of COCO's bounding boxes of any size, as pycocotools computes it: for each class and overlap, boxes
    by falling score are matched with the free true box that they overlap most; precision, made falling, is averaged
    over 101 recalls; then the mean over classes that occur.

    Parameters
    ----------
    found, truth : sequence of Boxes and of Truth
        Of each image.
    most : int, optional
        How many of the boxes of an image and a class count, those of the highest scores; None: all.

    Returns
    -------
    dict
        `map` over overlaps from 0.50 to 0.95, `map50` at 0.50; None where nothing is there to be found.
    """
    classes = np.unique(np.concatenate([each.classes[~each.crowd] for each in truth]))
    rows = [_of_class(number, found, truth, most) for number in classes]
    if not rows:
        return {"map": None, "map50": None}
    precisions = np.mean(rows, axis=0)
    return {"map": float(precisions.mean()), "map50": float(precisions[0])}


def _of_class(number: int, found: Sequence[Boxes], truth: Sequence[Truth], most: int | None) -> np.ndarray:
    """Average precision (10,) at each overlap."""
    scores, right, ignored, there = [], [], [], 0
    for boxes, true in zip(found, truth, strict=True):
        boxes = boxes[boxes.classes == number]
        boxes = boxes[np.argsort(-boxes.scores, kind="stable")[:most]]
        of_class = true.classes == number
        corners, crowd = true.corners[of_class], true.crowd[of_class]
        matched = _matched(boxes, corners, crowd)
        scores.append(boxes.scores)
        right.append(matched == _FOUND)
        ignored.append(matched == _IGNORED)
        there += int(np.count_nonzero(~crowd))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits, left_out = (np.concatenate(each, axis=1)[:, order] for each in (right, ignored))
    return np.array([_area_under(h[~i], there) for h, i in zip(hits, left_out, strict=True)])


_WRONG, _FOUND, _IGNORED = range(3)


def _matched(boxes: Boxes, corners: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """What became of each box at each overlap, (10, N)."""
    result = np.full((len(OVERLAPS), len(boxes)), _WRONG)
    order = np.argsort(crowd, kind="stable")  # a crowd counts only where no single object fits
    corners, crowd = corners[order], crowd[order]
    overlap = _overlaps(boxes.corners, corners, crowd)
    for k, least in enumerate(OVERLAPS):
        free = np.ones(len(corners), bool)
        for i, row in enumerate(overlap):
            for chosen, outcome in ((free & ~crowd, _FOUND), (crowd, _IGNORED)):
                fits = np.flatnonzero(chosen & (row >= min(least, 1 - 1e-10)))
                if len(fits):
                    best = fits[len(fits) - 1 - np.argmax(row[fits][::-1])]  # the last of equal ones, as pycocotools
                    free[best] = False
                    result[k, i] = outcome
                    break
    return result


def _overlaps(boxes: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersections over unions; with a crowd over the box that was found."""
    both = intersections(boxes.astype(np.float64), true.astype(np.float64))
    own = area(boxes.astype(np.float64))[:, None]
    whole = np.where(crowd, own, own + area(true.astype(np.float64)) - both)
    return np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)


def _area_under(hits: np.ndarray, there: int) -> float:
    """Of the precision, made falling, at 101 recalls."""
    found = np.cumsum(hits)
    recall = found / there
    precision = found / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(falling, 0.0)[places].mean())
