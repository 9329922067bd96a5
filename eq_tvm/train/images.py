"""Batches of a training set, in an order of their own each epoch, shifted and mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from eq_tvm.errors import UserError, counted
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
        Shift each image by up to an eighth of its size, and mirror every second one; of a sample with several images
        all of them alike.

    Raises
    ------
    UserError
        There are fewer than ten samples, or the network takes several at a time.
    """

    def __init__(self, samples: Samples, names: Sequence[str], *, seed: int, augment: bool) -> None:
        if samples.images_each != 1:
            raise UserError(f"the network takes {samples.images_each} images at a time: train one with a batch of 1")
        for form, _ in samples.parts:
            if form.info.shape[:1] != (1,):
                raise UserError(
                    f"input {form.info.name} of the network has the shape {form.info.shape}: training needs an axis of "
                    "1 in front, along which images can be put together"
                )
        self._samples, self._names = samples, names
        self._random = np.random.default_rng(seed)
        self._layouts = {form.info.name: form.layout for form, _ in samples.parts} if augment else {}
        if len(samples) < _PART:
            raise UserError(f"{samples.source} has {counted(len(samples), 'image')}: training needs some hundreds")
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
        order, batch = self._random.permutation(self.trained), min(batch, len(self.trained))
        for start in range(0, len(order) - batch // 2, batch):
            inputs, labels = self._read(order[start : start + batch])
            yield self._moved(inputs), labels

    def held(self, batch: int) -> Iterator[list[Tensor]]:
        """Those that are not trained on."""
        for start in range(0, len(self.held_out), batch):
            yield self._read(self.held_out[start : start + batch])[0]

    def _read(self, indices: np.ndarray) -> tuple[list[Tensor], Tensor | None]:
        runs = [self._samples[i] for i in indices]
        inputs = [torch.from_numpy(np.concatenate([run[name] for run in runs])) for name in self._names]
        return inputs, None if self.labels is None else self.labels[torch.from_numpy(indices)]

    def _moved(self, inputs: list[Tensor]) -> list[Tensor]:
        """Those that are images, (N, C, H, W) or (N, H, W, C), shifted and mirrored."""
        places, mirrored = self._random.random((2, len(inputs[0]))), self._random.random(len(inputs[0])) < 0.5
        return [
            x if layout is None else _shifted(x, layout, places, mirrored)
            for x, layout in zip(inputs, map(self._layouts.get, self._names), strict=True)
        ]


def _shifted(x: Tensor, layout: str, places: np.ndarray, mirrored: np.ndarray) -> Tensor:
    """Images, each by parts (2, N) of the way from one end to the other; what comes in is a reflection."""
    x = x if layout == "NCHW" else x.permute(0, 3, 1, 2)
    moved = []
    for image, (top, left), mirror in zip(x, places.T, mirrored, strict=True):
        rows, columns = (_read_from(n, part) for n, part in zip(image.shape[1:], (top, left), strict=True))
        moved.append(image[:, rows[:, None], columns.flip(0) if mirror else columns])
    result = torch.stack(moved)
    return result if layout == "NCHW" else result.permute(0, 2, 3, 1)


def _read_from(size: int, part: float) -> Tensor:
    """Of each row, or column, of a shifted image that of the image."""
    most = size // _SHIFT
    places = (torch.arange(size) + int(part * (2 * most + 1)) - most).abs()
    return torch.minimum(places, 2 * (size - 1) - places)
