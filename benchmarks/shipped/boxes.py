"""How many boxes of two detectors are the same."""

from __future__ import annotations

import numpy as np

from eq_tvm.tasks.boxes import Boxes, overlaps
from peers.detection import MATCHED


def pairs(ours: Boxes, theirs: Boxes) -> int:
    """How many match: of the same class, and overlapping by half, the best pairs first."""
    overlap = overlaps(ours.corners, theirs.corners) * (ours.classes[:, None] == theirs.classes)
    count = 0
    while overlap.size and overlap.max() >= MATCHED:
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[i], overlap[:, j], count = 0, 0, count + 1
    return count
