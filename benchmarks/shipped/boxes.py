"""Boxes that detectors find, by the form of their outputs, and how many are the same in two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from peers.detection import MATCHED, overlaps

Decode = Callable[[list[np.ndarray], Sequence[int]], tuple[np.ndarray, np.ndarray]]
_SUPPRESSED = 0.5  # intersection over union with a better one


@dataclass(frozen=True)
class Boxes:
    """What was found in one image: corners (N, 4) in pixels, and classes (N,)."""

    corners: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


def found(candidates: tuple[np.ndarray, np.ndarray], above: float) -> Boxes:
    """Those of a score above a threshold, best first, but not those that cover a better one of their class.

    `candidates` are corners (A, 4) and scores (A, classes), as a decoder gives them.
    """
    corners, scores = candidates
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    left, kept = np.flatnonzero(best > above), []
    left = left[np.argsort(-best[left], kind="stable")]
    while len(left):
        kept.append(left[0])
        covered = overlaps(corners[left[:1]], corners[left])[0] > _SUPPRESSED
        left = left[1:][~(covered & (classes[left] == classes[left[0]]))[1:]]
    return Boxes(corners[kept], classes[kept])


def pairs(ours: Boxes, theirs: Boxes) -> int:
    """How many match: of the same class, and overlapping by half, the best pairs first."""
    overlap = overlaps(ours.corners, theirs.corners) * (ours.classes[:, None] == theirs.classes)
    count = 0
    while overlap.size and overlap.max() >= MATCHED:
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[i], overlap[:, j], count = 0, 0, count + 1
    return count


def _yolo(outputs: list[np.ndarray], _size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """YOLOv8 and later: centers and sizes (1, 4, A) in pixels, scores (1, classes, A)."""
    return _corners(outputs[0][0].T), outputs[1][0].T


def _yolox(outputs: list[np.ndarray], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(1, A, 5 + classes): centers from the cell, logarithms of sizes, both in cells; that there is one, classes."""
    result = outputs[0][0]
    places, strides = _cells(size, (8, 16, 32), offset=0)
    boxes = np.concatenate([result[:, :2] * strides + places, np.exp(result[:, 2:4]) * strides], axis=1)
    return _corners(boxes), result[:, 4:5] * result[:, 5:]


def _picodet(outputs: list[np.ndarray], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each of four maps scores (1, A, classes), then for each the odds of distances to sides (1, A, 4 * bins)."""
    count = len(outputs) // 2
    scores, odds = (np.concatenate([each[0] for each in part]) for part in (outputs[:count], outputs[count:]))
    places, strides = _cells(size, (8, 16, 32, 64), offset=0.5)
    odds = np.exp(odds.reshape(len(odds), 4, -1))
    distances = strides * (odds @ np.arange(odds.shape[2])) / odds.sum(axis=2)
    return np.concatenate([places - distances[:, :2], places + distances[:, 2:]], axis=1), scores


def _centerface(outputs: list[np.ndarray], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Maps of a quarter of the image: scores, logarithms of heights and widths, offsets down and right."""
    scores, sizes, offsets = (each[0].reshape(each.shape[1], -1).T[:, ::-1] for each in outputs[:3])
    places, strides = _cells(size, (4,), offset=0.5)
    return _corners(np.concatenate([places + strides * offsets, strides * np.exp(sizes)], axis=1)), scores


def _cells(size: Sequence[int], strides: Sequence[int], offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each cell of maps, row by row, a place (x, y) in pixels, and the cell's size (A, 1)."""
    places, sizes = [], []
    for stride in strides:
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        places.append(stride * (np.stack([x, y], axis=-1).reshape(-1, 2) + offset))
        sizes.append(np.full((x.size, 1), stride))
    return np.concatenate(places), np.concatenate(sizes)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Of centers and sizes."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


DECODERS: dict[str, Decode] = {
    "yolo": _yolo,
    "yolox": _yolox,
    "picodet": _picodet,
    "centerface": _centerface,
}
