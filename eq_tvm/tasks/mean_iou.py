"""Mean intersection over union of masks."""

from __future__ import annotations

import numpy as np

from eq_tvm.errors import UserError

IGNORED = 255  # the class of pixels that count nowhere, as in Pascal VOC and Cityscapes


class MeanIoU:
    """Counts pixels by what they are and what they were taken for, image by image: `counts` (classes, classes)."""

    def __init__(self) -> None:
        self.counts = np.zeros((0, 0), np.int64)

    def add(self, found: np.ndarray, truth: np.ndarray, name: str = "the label image") -> None:
        """Take the classes of one image's pixels, both (H, W); those that are 255 in the truth do not count.

        Raises
        ------
        UserError
            The two have different shapes.
        """
        if found.shape != truth.shape:
            raise UserError(f"{name} is {truth.shape}, but the network's mask {found.shape}")
        counted = truth != IGNORED
        found, truth = found[counted].astype(np.int64), truth[counted].astype(np.int64)
        classes = int(max(found.max(initial=-1), truth.max(initial=-1))) + 1
        self.join(np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes))

    def join(self, counts: np.ndarray) -> None:
        """Add pixels (classes, classes) that were counted elsewhere."""
        classes = max(len(self.counts), len(counts))
        self.counts, more = (np.pad(each, (0, classes - len(each))) for each in (self.counts, counts))
        self.counts += more

    def result(self) -> float | None:
        """The mean over all classes that occur in the truth or were found; None without pixels."""
        both = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - both
        occurs = union > 0
        return float(np.mean(both[occurs] / union[occurs])) if occurs.any() else None
