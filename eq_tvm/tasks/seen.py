"""What a network sees in one image, in words and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Placement
from eq_tvm.tasks.boxes import Boxes, best
from eq_tvm.tasks.decoders import DECODERS
from eq_tvm.tasks.draw import draw_boxes, draw_mask, draw_text
from eq_tvm.tasks.labels import check_count, in_order, of_boxes
from eq_tvm.tasks.masks import mask, on_image
from eq_tvm.tasks.recognize import CLASSIFY, task_of

ABOVE = 0.25  # the score from which on a box is shown


@dataclass(frozen=True)
class View:
    """How to look at outputs.

    Attributes
    ----------
    task : str, optional
        One of `eq_tvm.tasks.recognize.TASKS`; by default what the outputs' shapes say.
    names : sequence of str, optional
        Of the classes, as `read_labels` gives them.
    labels : str
        Where these are from, for messages.
    above : float
        The score above which boxes count.
    top : int
        How many classes to name.
    """

    task: str | None = None
    names: Sequence[str] | None = None
    labels: str = ""
    above: float = ABOVE
    top: int = 5

    def see(self, outputs: Mapping[str, np.ndarray], placement: Placement | None) -> Seen:
        """What is in one image.

        Parameters
        ----------
        outputs : mapping of str to np.ndarray
            Of one image, with the batch axis of 1.
        placement : Placement, optional
            How the image, in whose pixels boxes are said, became the input; None where the network takes no images.

        Raises
        ------
        UserError
            The outputs do not say what the network is for, or it has other classes than names.
        """
        infos = [TensorInfo(name, output.shape, str(output.dtype)) for name, output in outputs.items()]
        task = task_of(infos, placement.size if placement else None, self.task)
        arrays = list(outputs.values())
        if task == CLASSIFY:
            return self._classes(arrays[0].ravel())
        assert placement is not None
        if task in DECODERS:
            found = best(DECODERS[task](arrays, placement.size), self.above)
            return self._boxes(found.in_image(placement).within(*placement.image))
        return self._mask(arrays[0], placement)

    def _classes(self, scores: np.ndarray) -> Seen:
        names = self._names_of(len(scores))
        highest = np.argsort(-scores.astype(np.float64), kind="stable")[: self.top]
        lines = [f"{index:5d}  {_number(scores[index])}{_after(names, int(index))}" for index in highest]
        return Seen(lines, texts=[f"{names[i] if names else i}  {_number(scores[i])}" for i in highest])

    def _boxes(self, found: Boxes) -> Seen:
        known = None if self.names is None else of_boxes(self.names, found.known, self.labels)
        names = [self._name_of_box(int(number), known) for number in found.classes]
        lines = [
            f"{score:4.0%}  {name:16}{' '.join(f'{x:.0f}' for x in corners)}"
            for score, name, corners in zip(found.scores, names, found.corners, strict=True)
        ]
        return Seen(lines or [f"nothing with a score above {self.above:g}"], boxes=found, texts=names)

    def _mask(self, output: np.ndarray, placement: Placement) -> Seen:
        classes = on_image(mask(output), placement, outside=0)
        if output.dtype.kind == "f":
            names = self._names_of(max(output.shape[-3], 2))
        else:
            names = None if self.names is None else dict(enumerate(self.names))
        numbers, counts = np.unique(classes, return_counts=True)
        rows = sorted(zip(counts.tolist(), numbers.tolist(), strict=True), key=lambda row: -row[0])
        lines = [
            f"{number:5d}  {count / classes.size:6.1%} of the image{_after(names, number)}" for count, number in rows
        ]
        return Seen(lines, classes=classes)

    def _names_of(self, classes: int) -> Mapping[int, str] | None:
        if self.names is None:
            return None
        check_count(self.names, classes, self.labels)
        return dict(enumerate(in_order(self.names, classes)))

    def _name_of_box(self, number: int, names: Mapping[int, str] | None) -> str:
        if names is None:
            return f"class {number}"
        if number not in names:
            raise UserError(
                f"the network has found a box of class {number}, but the labels {self.labels} have only "
                f"{len(names)} names: pass the file of names that it was trained with"
            )
        return names[number]


@dataclass(frozen=True)
class Seen:
    """What there is in one image.

    Attributes
    ----------
    lines : list of str
        For people.
    texts : list of str
        What to write on the image, or to each box.
    boxes : Boxes, optional
        In pixels of the image.
    classes : np.ndarray (H, W), optional
        Of each of its pixels.
    """

    lines: list[str]
    texts: Sequence[str] = ()
    boxes: Boxes | None = None
    classes: np.ndarray | None = None

    def drawn_on(self, image: np.ndarray) -> Image.Image:
        """On that image, uint8 RGB (H, W, 3)."""
        if self.boxes is not None:
            return draw_boxes(image, self.boxes, self.texts)
        return draw_text(image, self.texts) if self.classes is None else draw_mask(image, self.classes)


def _after(names: Mapping[int, str] | None, number: int) -> str:
    return f"  {names[number]}" if names and number in names else ""


def _number(value: np.generic) -> str:
    return f"{value:.4f}" if value.dtype.kind == "f" else str(value)
