"""Boxes that detectors find: overlaps, and the best of those that cover each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eq_tvm.preprocess import Placement

SUPPRESSED = 0.5  # intersection over union with a better box


@dataclass(frozen=True)
class Boxes:
    """What was found in one image.

    Attributes
    ----------
    corners : np.ndarray (N, 4)
        Left, top, right and bottom, in pixels.
    scores : np.ndarray (N,)
    classes : np.ndarray (N,)
        Integers.
    known : int, optional
        How many classes the network tells apart, if it says so.
    """

    corners: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    known: int | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: np.ndarray) -> Boxes:
        """Those of these numbers, or of a mask."""
        return Boxes(self.corners[chosen], self.scores[chosen], self.classes[chosen], self.known)

    def in_image(self, placement: Placement) -> Boxes:
        """In the pixels of the image that was placed so in the network's input."""
        return replace(self, corners=placement.corners_in_image(self.corners))

    def within(self, height: int, width: int) -> Boxes:
        """Cut at the ends of an image."""
        return replace(self, corners=np.clip(self.corners, 0, [width, height, width, height]))


def best(candidates: Boxes, above: float, suppressed: float = SUPPRESSED, most: int | None = None) -> Boxes:
    """Non-maximum suppression: those of a score above a threshold, best first, but not those that cover a better one.

    Parameters
    ----------
    candidates : Boxes
    above : float
        The score.
    suppressed : float
        The intersection over union with a better one of its class that is too much; 1 leaves all.
    most : int, optional
        No more than that.
    """
    finite = np.isfinite(candidates.corners).all(axis=1)
    left, kept = np.flatnonzero((candidates.scores > above) & finite), list[np.int64]()
    left = left[np.argsort(-candidates.scores[left], kind="stable")]
    if suppressed >= 1:
        return candidates[left[:most]]
    while len(left) and (most is None or len(kept) < most):
        kept.append(left[0])
        covered = overlaps(candidates.corners[left[:1]], candidates.corners[left])[0] > suppressed
        covered &= candidates.classes[left] == candidates.classes[left[0]]
        left = left[1:][~covered[1:]]
    return candidates[np.array(kept, np.int64)]


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersections over unions (N, M) of boxes (N, 4) and (M, 4); 0 where both are empty."""
    both, areas = intersections(a, b), area(b)
    union = area(a)[:, None] + areas - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Areas (N, M) that boxes (N, 4) and (M, 4) have in common, in floats."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    result: np.ndarray = np.maximum(high - low, 0.0).prod(axis=2)
    return result


def area(boxes: np.ndarray) -> np.ndarray:
    """Of boxes (N, 4)."""
    result: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return result
