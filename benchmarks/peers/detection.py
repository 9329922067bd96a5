"""Faces that ultraface_rfb_320 finds, and how well those of two networks match: it has no ground truth here."""

from __future__ import annotations

import numpy as np

from eq_tvm.tasks.boxes import Boxes, best, overlaps
from eq_tvm.tasks.priors import decoded_by_priors

WIDTH, HEIGHT = 320, 240
LEAST_SCORE, SUPPRESSED, MATCHED = 0.7, 0.3, 0.5  # the latter two are intersections over unions


def detect(scores: np.ndarray, boxes: np.ndarray) -> Boxes:
    """The faces that the network's outputs say: scores (4420, 2), whose second column counts, and boxes (4420, 4).

    Priors of a score above 0.7 are taken, best first, but not those that cover a better one too much.
    """
    corners = decoded_by_priors(boxes, (HEIGHT, WIDTH))
    return best(Boxes(corners, scores[:, 1], np.zeros(len(scores), np.int64)), LEAST_SCORE, SUPPRESSED)


def compare(found: list[Boxes], expected: list[Boxes]) -> dict[str, float | int]:
    """How well the faces in some images match the expected ones: pairs that overlap by half, the best pairs first.

    Returns
    -------
    dict
        `recall`: share of the expected ones that were found. `precision`: share of the found ones that are expected.
        `score_difference`: mean magnitude over the pairs. `faces`: number of the expected ones, and `n` of images.
    """
    differences: list[float] = []
    for ours, theirs in zip(found, expected, strict=True):
        overlap = overlaps(ours.corners, theirs.corners)
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
