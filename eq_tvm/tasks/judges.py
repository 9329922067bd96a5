"""How good boxes or masks are, against what people have marked or against the float network's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, counted
from eq_tvm.preprocess import Placement
from eq_tvm.tasks.annotations import Annotations, read_annotations, read_label_image
from eq_tvm.tasks.average_precision import MOST, Truth, average_precision
from eq_tvm.tasks.boxes import Boxes, best
from eq_tvm.tasks.decoders import DECODERS, Size
from eq_tvm.tasks.labels import of_boxes, read_labels
from eq_tvm.tasks.masks import mask, on_image
from eq_tvm.tasks.mean_iou import IGNORED, MeanIoU
from eq_tvm.tasks.recognize import SEGMENT, recognize, task_of

JUDGED = 0.001  # the score above which boxes are judged: precision at high recall counts, too
_FOUND = 1000  # boxes of an image at most
TRUE = 0.25  # and above which the float network's count as there


class Judge(Protocol):
    """Counts, image by image."""

    def add(
        self, name: str, placement: Placement, outputs: list[np.ndarray], expected: list[np.ndarray] | None
    ) -> None:
        """Take the outputs for one image (with a batch axis of 1), and those of the float network.

        `name` is its file's, and `placement` says how it became the input.
        """

    def state(self) -> Any:
        """What `join` takes: it can be sent to another process."""

    def join(self, state: Any) -> None:
        """Add what another judge of the same kind has counted of the images that follow."""

    def result(self) -> dict[str, float | None]:
        """What was counted."""


def judge_for(
    outputs: Sequence[TensorInfo],
    size: Size | None,
    *,
    task: str | None,
    annotations: str | Path | None,
    labels: str | Path | None,
    has_reference: bool,
) -> Judge | None:
    """What judges a network's boxes or masks; None where it has none, or there is nothing to compare them with.

    Parameters are those of `eq_tvm.evaluate.evaluate`, with the outputs of the network, and height and width of its
    input.

    Raises
    ------
    UserError
        A task that its outputs can't be of, or annotations of another one.
    """
    if annotations is None and not has_reference:
        if task is not None:
            task_of(outputs, size, task)
        return None
    if annotations is None and task is None:
        task = recognize(outputs, size)
    else:
        task = task_of(outputs, size, task)
    if size is not None and task in DECODERS:
        truth = None if annotations is None else read_annotations(annotations)
        return _BoxJudge(task, size, truth, labels)
    if task == SEGMENT:
        if annotations is not None and not Path(annotations).is_dir():
            raise UserError(f"{annotations} must be a directory of label images, as the network segments")
        return _MaskJudge(annotations)
    if annotations is not None:
        raise UserError(f"the network classifies: its labels are part of DATA, not of --annotations {annotations}")
    return None


class _BoxJudge:
    def __init__(self, task: str, size: Size, annotations: Annotations | None, labels: str | Path | None):
        self._decode, self._size, self._annotations = DECODERS[task], size, annotations
        self._ids_of = None if annotations is None else _numbering(annotations, labels)
        self._found: list[Boxes] = []
        self._truth: list[Truth] = []

    def add(
        self, name: str, placement: Placement, outputs: list[np.ndarray], expected: list[np.ndarray] | None
    ) -> None:
        found = best(self._decode(outputs, self._size), JUDGED, most=_FOUND).in_image(placement)
        if self._annotations is None:
            assert expected is not None
            true = best(self._decode(expected, self._size), TRUE).in_image(placement)
            truth = Truth(true.corners, true.classes, np.zeros(len(true), bool))
        else:
            assert self._ids_of is not None
            truth = self._annotations.of(name, placement.image)
            found = self._numbered_as_annotations(found, self._ids_of(found.known))
        self._found.append(found)
        self._truth.append(truth)

    def _numbered_as_annotations(self, found: Boxes, ids: Mapping[int, int]) -> Boxes:
        assert self._annotations is not None
        if unknown := set(found.classes.tolist()) - set(ids):
            raise UserError(
                f"the network finds boxes of the class {min(unknown)}, but {self._annotations.path} has "
                f"{counted(len(self._annotations.categories), 'category', 'categories')}: pass the names of its "
                "classes by --labels"
            )
        ours = np.array([ids[number] for number in found.classes.tolist()], np.int64)
        known = ours >= 0
        return replace(found, classes=ours)[known]

    def state(self) -> tuple[list[Boxes], list[Truth]]:
        return self._found, self._truth

    def join(self, state: tuple[list[Boxes], list[Truth]]) -> None:
        found, truth = state
        self._found += found
        self._truth += truth

    def result(self) -> dict[str, float | None]:
        most = None if self._annotations is None else MOST  # the float network may find more
        return average_precision(self._found, self._truth, most) if self._truth else {"map": None, "map50": None}


def _numbering(annotations: Annotations, labels: str | Path | None) -> Callable[[int | None], Mapping[int, int]]:
    """Gives for as many classes as a network tells apart (see `Boxes.known`) the category's id of each, -1 for none.

    By the names of both, if labels are given; otherwise classes are categories in the order of their ids, or where the
    network itself ends in boxes these ids.
    """
    categories = annotations.categories
    if labels is None:
        return lambda known: _in_order(annotations, known)
    names = read_labels(labels)
    ids = {name.lower(): number for number, name in categories.items()}
    if missing := sorted(set(ids) - {name.lower() for name in names}):
        raise UserError(f"{annotations.path} has the category {missing[0]!r}, which is not among the labels {labels}")

    def by_name(known: int | None) -> Mapping[int, int]:
        return {number: ids.get(name.lower(), -1) for number, name in of_boxes(names, known, labels).items()}

    return by_name


def _in_order(annotations: Annotations, known: int | None) -> Mapping[int, int]:
    if known is None:
        return {number: number for number in annotations.categories}
    if known != len(annotations.categories):
        raise UserError(
            f"the network has {counted(known, 'class', 'classes')}, but {annotations.path} has "
            f"{counted(len(annotations.categories), 'category', 'categories')}: "
            "pass the names of its classes by --labels"
        )
    return dict(enumerate(annotations.categories))


class _MaskJudge:
    def __init__(self, folder: str | Path | None):
        self._folder, self._iou = folder, MeanIoU()

    def add(
        self, name: str, placement: Placement, outputs: list[np.ndarray], expected: list[np.ndarray] | None
    ) -> None:
        found = mask(outputs[0])
        if self._folder is None:
            assert expected is not None
            truth = mask(expected[0])
        else:
            truth = read_label_image(self._folder, name)
            found = on_image(found, replace(placement, image=truth.shape), outside=-1)  # it may be smaller
            truth = np.where(found < 0, IGNORED, truth)
        self._iou.add(found, truth, f"the label image of {name}")

    def state(self) -> np.ndarray:
        return self._iou.counts

    def join(self, state: np.ndarray) -> None:
        self._iou.join(state)

    def result(self) -> dict[str, float | None]:
        return {"miou": self._iou.result()}
