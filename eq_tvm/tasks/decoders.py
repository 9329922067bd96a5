"""From the outputs of a detector to boxes, by the form of its head.

Each decoder takes the outputs of one image, with the batch axis of 1, and height and width of the network's input. It
gives all candidates in pixels of that input, before any threshold or suppression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eq_tvm.tasks.boxes import Boxes
from eq_tvm.tasks.priors import decoded_by_priors

Size = tuple[int, int]  # height, width
Decoder = Callable[[Sequence[np.ndarray], Size], Boxes]
YOLO_STRIDES, PICODET_STRIDES = (8, 16, 32), (8, 16, 32, 64)


def yolo(outputs: Sequence[np.ndarray], _size: Size) -> Boxes:
    """YOLOv5 to YOLO11: centers and sizes in pixels, then scores.

    (1, 4 + classes, A), as of YOLOv8 and later, also as two outputs (1, 4, A) and (1, classes, A); or
    (1, A, 5 + classes), as of YOLOv5, whose fifth is that there is an object. A second output of four axes, (1, M, H,
    W), are prototypes of masks: the last M of the first output, which are not classes, are left out.
    """
    first = outputs[0][0]
    if len(first) == 4 and len(outputs) > 1 and outputs[1].ndim == 3:
        return _best_class(_corners(first.T), outputs[1][0].T)
    if first.shape[0] > first.shape[1]:
        scores = first[:, 4:5] * first[:, 5 : first.shape[1] - _mask_coefficients(outputs)]
        return _best_class(_corners(first[:, :4]), scores)
    return _best_class(_corners(first[:4].T), first[4 : len(first) - _mask_coefficients(outputs)].T)


def yolox(outputs: Sequence[np.ndarray], size: Size) -> Boxes:
    """(1, A, 5 + classes): centers from the cell and logarithms of sizes, in cells; scores of an object, of classes."""
    result = outputs[0][0]
    places, strides = cells(size, YOLO_STRIDES, offset=0)
    boxes = np.concatenate([result[:, :2] * strides + places, np.exp(result[:, 2:4]) * strides], axis=1)
    return _best_class(_corners(boxes), result[:, 4:5] * result[:, 5:])


def picodet(outputs: Sequence[np.ndarray], size: Size) -> Boxes:
    """For each of four maps scores (1, A, classes), then for each the odds of distances to sides (1, A, 4 * bins)."""
    count = len(outputs) // 2
    scores, odds = (np.concatenate([each[0] for each in part]) for part in (outputs[:count], outputs[count:]))
    places, strides = cells(size, PICODET_STRIDES, offset=0.5)
    odds = np.exp(odds.reshape(len(odds), 4, -1))
    distances = strides * (odds @ np.arange(odds.shape[2])) / odds.sum(axis=2)
    return _best_class(np.concatenate([places - distances[:, :2], places + distances[:, 2:]], axis=1), scores)


def ssd(outputs: Sequence[np.ndarray], size: Size) -> Boxes:
    """Scores (1, A, 1 + classes), whose first is the background, and boxes (1, A, 4), in any order.

    Boxes are corners in parts of the image, if none has its right left of its left. Otherwise they are relative to
    priors: see `eq_tvm.tasks.priors`.
    """
    boxes = next(each for each in outputs if each.shape[-1] == 4)[0]
    scores = next(each for each in outputs if each.shape[-1] != 4)[0]
    if (boxes[:, 2:] >= boxes[:, :2]).all():
        corners = boxes * np.array([size[1], size[0]] * 2)
    else:
        corners = decoded_by_priors(boxes, size)
    return _best_class(corners, scores[:, 1:])


def centerface(outputs: Sequence[np.ndarray], size: Size) -> Boxes:
    """Maps of a quarter of the image: scores, logarithms of heights and widths, offsets down and right, landmarks."""
    scores, sizes, offsets = (each[0].reshape(each.shape[1], -1).T[:, ::-1] for each in outputs[:3])
    places, strides = cells(size, (4,), offset=0.5)
    return _best_class(_corners(np.concatenate([places + strides * offsets, strides * np.exp(sizes)], axis=1)), scores)


def boxes(outputs: Sequence[np.ndarray], _size: Size) -> Boxes:
    """Boxes that the network itself has chosen, as torchvision's detectors do: corners (N, 4), classes, scores (N,).

    In any order, and with a batch axis of 1 or without; classes are the integers.
    """
    corners = next(each for each in outputs if each.shape[-1:] == (4,)).reshape(-1, 4)
    lists = [each.ravel() for each in outputs if each.size == len(corners) and each.shape[-1:] != (4,)]
    classes = next(each for each in lists if each.dtype.kind in "iu")
    return Boxes(corners, next(each for each in lists if each.dtype.kind == "f"), classes.astype(np.int64))


DECODERS: dict[str, Decoder] = {
    "yolo": yolo,
    "yolox": yolox,
    "picodet": picodet,
    "ssd": ssd,
    "centerface": centerface,
    "boxes": boxes,
}


def cells(size: Size, strides: Sequence[int], offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each cell of maps, row by row, a place (A, 2), x and y in pixels, and the cell's size (A, 1)."""
    places, sizes = [], []
    for stride in strides:
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        places.append(stride * (np.stack([x, y], axis=-1).reshape(-1, 2) + offset))
        sizes.append(np.full((x.size, 1), stride))
    return np.concatenate(places), np.concatenate(sizes)


def _mask_coefficients(outputs: Sequence[np.ndarray]) -> int:
    return next((each.shape[1] for each in outputs[1:] if each.ndim == 4), 0)


def _best_class(corners: np.ndarray, scores: np.ndarray) -> Boxes:
    """Each with its best class, of scores (A, classes)."""
    return Boxes(corners, scores.max(axis=1), scores.argmax(axis=1), scores.shape[1])


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Of centers and sizes."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
