"""Batches of a training set, in an order of their own each epoch, shifted and mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eq_tvm.errors import UserError
from eq_tvm.inputs.samples import Samples

_HELD_OUT = 500  # images at most,
_PART = 10  # and of so many one
_SHIFT = 8  # at most this part of height and width


class TrainingImages:
    """Images that are trained on, and a few that are not.

    Parameters
    ----------
    samples : Samples
        Each of one image: the network's batch is 1.
    names : sequence of str
        Of the network's inputs, in order.
    seed : int
    augment : bool
        Shift each image by up to an eighth of its size, and mirror every second one.
    """

    def __init__(self, samples: Samples, names: Sequence[str], *, seed: int, augment: bool) -> None:
        if samples.images_each != 1:
            raise UserError(f"the network takes {samples.images_each} images at a time: train one with a batch of 1")
        self._samples, self._names = samples, names
        self._random = np.random.default_rng(seed)
        self._augment = augment and samples.image_size is not None
        if len(samples) < _PART:
            raise UserError(f"{samples.source} has {len(samples)} images: training needs some hundreds")
        count = min(_HELD_OUT, len(samples) // _PART)
        self.held_out = np.linspace(0, len(samples) - 1, count).round().astype(int)
        self.trained = np.setdiff1d(np.arange(len(samples)), self.held_out)
        self.labels: Tensor | None = None
        if samples.labels(0) is not None:
            self.labels = torch.from_numpy(np.concatenate([samples.labels(i) for i in range(len(samples))]))

    @property
    def held_labels(self) -> Tensor | None:
        """(N,) of those that are not trained on."""
        return None if self.labels is None else self.labels[torch.from_numpy(self.held_out)]

    def epoch(self, batch: int) -> Iterator[tuple[list[Tensor], Tensor | None]]:
        """All that are trained on, once: inputs (N, ...) and labels (N,), if there are any."""
        order = self._random.permutation(self.trained)
        for start in range(0, len(order) - batch // 2, batch):
            inputs, labels = self._read(order[start : start + batch])
            yield [self._moved(x) for x in inputs] if self._augment else inputs, labels

    def held(self, batch: int) -> Iterator[list[Tensor]]:
        """Those that are not trained on."""
        for start in range(0, len(self.held_out), batch):
            yield self._read(self.held_out[start : start + batch])[0]

    def _read(self, indices: np.ndarray) -> tuple[list[Tensor], Tensor | None]:
        runs = [self._samples[i] for i in indices]
        inputs = [torch.from_numpy(np.concatenate([run[name] for run in runs])) for name in self._names]
        return inputs, None if self.labels is None else self.labels[torch.from_numpy(indices)]

    def _moved(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), or (N, H, W, C): the axis of fewest elements is that of channels."""
        last = x.ndim == 4 and x.shape[3] < x.shape[1]
        x = x.permute(0, 3, 1, 2) if last else x
        height, width = x.shape[2:]
        dy, dx = height // _SHIFT, width // _SHIFT
        padded = F.pad(x, (dx, dx, dy, dy), mode="reflect")
        tops, lefts = self._random.integers(0, 2 * dy + 1, len(x)), self._random.integers(0, 2 * dx + 1, len(x))
        mirrored = self._random.random(len(x)) < 0.5
        moved = torch.stack(
            [
                image[:, top : top + height, left : left + width].flip(-1 if mirror else ())
                for image, top, left, mirror in zip(padded, tops, lefts, mirrored, strict=True)
            ]
        )
        return moved.permute(0, 2, 3, 1) if last else moved
