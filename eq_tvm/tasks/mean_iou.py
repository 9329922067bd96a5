"""Mean intersection over union of masks."""

from __future__ import annotations

import numpy as np

from eq_tvm.errors import UserError

IGNORED = 255  # the class of pixels that count nowhere, as in Pascal VOC and Cityscapes


class MeanIoU:
    """Counts pixels by what they are and what they were taken for, image by image."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, 0), np.int64)

    def add(self, found: np.ndarray, truth: np.ndarray, name: str = "the label image") -> None:
        """Take the classes of one image's pixels, both (H, W); those that are 255 in the truth do not count.

        Raises
        ------
        UserError
            The two have different shapes.
        """
        if found.shape != truth.shape:
            raise UserError(f"{name} is {truth.shape}, but the network's mask {found.shape}")
        counts = truth != IGNORED
        found, truth = found[counts].astype(np.int64), truth[counts].astype(np.int64)
        classes = max(len(self._counts), int(max(found.max(initial=-1), truth.max(initial=-1))) + 1)
        more = classes - len(self._counts)
        self._counts = np.pad(self._counts, (0, more))
        self._counts += np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)

    def result(self) -> float | None:
        """The mean over all classes that occur in the truth or were found; None without pixels."""
        both = np.diag(self._counts)
        union = self._counts.sum(axis=0) + self._counts.sum(axis=1) - both
        occurs = union > 0
        return float(np.mean(both[occurs] / union[occurs])) if occurs.any() else None
