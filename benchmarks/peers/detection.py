"""Faces that ultraface_rfb_320 finds, and how well those of two networks match: it has no ground truth here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 320, 240
# Anchors by feature map: its width and height, and the sizes of its square anchors in pixels.
_MAPS = (
    (40, 30, (10, 16, 24)),
    (20, 15, (32, 48)),
    (10, 8, (64, 96)),
    (5, 4, (128, 192, 256)),
)
_CENTER, _SIZE = 0.1, 0.2  # variances: what one unit of the network's boxes is, by the anchor's size
LEAST_SCORE, SUPPRESSED, MATCHED = 0.7, 0.3, 0.5  # the latter two are intersections over unions


@dataclass(frozen=True)
class Faces:
    """What was found in one image, best first.

    Attributes
    ----------
    boxes : numpy.ndarray (N, 4)
        Left, top, right and bottom, in pixels.
    scores : numpy.ndarray (N,)
    """

    boxes: np.ndarray
    scores: np.ndarray


def detect(scores: np.ndarray, boxes: np.ndarray) -> Faces:
    """The faces that the network's outputs say: scores (4420, 2), whose second column counts, and boxes (4420, 4).

    Anchors of a score above 0.7 are taken, best first, but not those that cover a better one too much.
    """
    scores, boxes = scores[:, 1], _decoded(boxes)
    left = np.flatnonzero(scores > LEAST_SCORE)
    left, best = left[np.argsort(-scores[left], kind="stable")], []
    while len(left):
        best.append(left[0])
        left = left[overlaps(boxes[left[:1]], boxes[left])[0] <= SUPPRESSED]
    return Faces(boxes[best], scores[best])


def compare(found: list[Faces], expected: list[Faces]) -> dict[str, float | int]:
    """How well the faces in some images match the expected ones: pairs that overlap by half, the best pairs first.

    Returns
    -------
    dict
        `recall`: share of the expected ones that were found. `precision`: share of the found ones that are expected.
        `score_difference`: mean magnitude over the pairs. `faces`: number of the expected ones, and `n` of images.
    """
    differences: list[float] = []
    for ours, theirs in zip(found, expected, strict=True):
        overlap = overlaps(ours.boxes, theirs.boxes)
        while overlap.size and overlap.max() >= MATCHED:
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            differences.append(abs(float(ours.scores[i]) - float(theirs.scores[j])))
            overlap[i], overlap[:, j] = 0, 0
    pairs, count = len(differences), sum(len(faces.scores) for faces in expected)
    return {
        "recall": pairs / max(count, 1),
        "precision": pairs / max(sum(len(faces.scores) for faces in found), 1),
        "score_difference": float(np.mean(differences)) if pairs else 0.0,
        "faces": count,
        "n": len(expected),
    }


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersections over unions (N, M) of boxes (N, 4) and (M, 4)."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return both / (areas[0][:, None] + areas[1] - both)


def _decoded(boxes: np.ndarray) -> np.ndarray:
    """Corners (4420, 4) in pixels of what the network says relative to its anchors."""
    anchors = _anchors()
    center = anchors[:, :2] + _CENTER * boxes[:, :2] * anchors[:, 2:]
    size = anchors[:, 2:] * np.exp(_SIZE * boxes[:, 2:])
    return np.concatenate([center - size / 2, center + size / 2], axis=1)


def _anchors() -> np.ndarray:
    """Center and size (4420, 4) of each anchor in pixels: row by row, the sizes of a place behind each other."""
    found = []
    for columns, rows, sizes in _MAPS:
        y, x, size = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sizes, indexing="ij")
        # sizes beyond the image's end at its own
        parts = x * WIDTH / columns, y * HEIGHT / rows, np.minimum(size, WIDTH), np.minimum(size, HEIGHT)
        found.append(np.stack(parts, axis=-1).reshape(-1, 4))
    return np.concatenate(found)
