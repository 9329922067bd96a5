"""What a network is for, by the shapes of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.tasks.decoders import DECODERS, PICODET_STRIDES, YOLO_STRIDES, Size, cells

CLASSIFY, SEGMENT = "classify", "segment"
TASKS = (*DECODERS, CLASSIFY, SEGMENT)
_MASK_STRIDE = 16  # maps coarser than that are no masks
Shapes = list[tuple[int, ...]]


def recognize(outputs: Sequence[TensorInfo], size: Size | None) -> str | None:
    """The task, one of `TASKS`; None where the outputs do not say.

    Parameters
    ----------
    outputs : sequence of TensorInfo
        In the network's order, of a batch of any size.
    size : (int, int), optional
        Height and width of the input; None where the network takes no images.

    Notes
    -----
    ``classify``: one vector of at least two floats, alone. ``segment``: (1, C, H, W) with two classes or at least four,
    or integers (1, H, W), at least a sixteenth of the image's size: with three channels it could be an image, with one
    anything. Detectors as their decoders say, with as many boxes as their maps have cells.
    """
    shapes = [info.shape for info in outputs]
    if size is None:
        return CLASSIFY if _is_vector(outputs) else None
    return next((task for task, fits in _FORMS.items() if fits(shapes, outputs, size)), None)


def task_of(outputs: Sequence[TensorInfo], size: Size | None, task: str | None) -> str:
    """The task that somebody names, else the one that is recognized.

    Raises
    ------
    UserError
        None is, or the outputs can't be of the one that is named.
    """
    shapes = [info.shape for info in outputs]
    listed = "; ".join(f"{info.name} {info.shape}" for info in outputs)
    if task is None:
        task = recognize(outputs, size)
        if task is None:
            raise UserError(f"the outputs do not say what the network is for ({listed}): pass --task {'|'.join(TASKS)}")
        return task
    if task not in TASKS:
        raise UserError(f"--task must be one of {', '.join(TASKS)}, not {task}")
    if size is None and task != CLASSIFY:
        raise UserError(f"--task {task}: the network takes no images")
    if size is not None and not _COULD_BE[task](shapes, outputs, size):
        raise UserError(f"--task {task}: the outputs have other shapes than such a network's ({listed})")
    return task


def _boxes(shapes: Shapes, outputs: Sequence[TensorInfo], _size: Size) -> bool:
    """Corners, integers and floats, as many of each."""
    floats = [info for info in outputs if np.dtype(info.dtype).kind == "f"]
    integers = [info for info in outputs if np.dtype(info.dtype).kind in "iu"]
    corners = next((info for info in floats if info.shape[-1:] == (4,) and len(info.shape) in (2, 3)), None)
    if corners is None:
        return False
    count = int(np.prod(corners.shape[:-1]))
    return all(any(int(np.prod(info.shape)) == count for info in infos) for infos in (floats, integers))


def _centerface(shapes: Shapes, _outputs: Sequence[TensorInfo], size: Size) -> bool:
    quarter = tuple(-(-extent // 4) for extent in size)
    channels = tuple(shape[1] for shape in shapes if len(shape) == 4 and shape[2:] == quarter)
    return len(channels) == len(shapes) and channels[:3] == (1, 2, 2)


def _yolo(shapes: Shapes, _outputs: Sequence[TensorInfo], size: Size) -> bool:
    if not _could_be_yolo(shapes, _outputs, size):
        return False
    count = _count(size, YOLO_STRIDES)
    _, rows, columns = shapes[0]
    return columns == count if rows < columns else rows == 3 * count


def _could_be_yolo(shapes: Shapes, _outputs: Sequence[TensorInfo], _size: Size) -> bool:
    if len(shapes[0]) != 3 or len(shapes) > 3 or not _are_prototypes(shapes[-1:] if len(shapes) > 1 else []):
        pair = len(shapes) > 1 and len(shapes[0]) == len(shapes[1]) == 3
        return pair and shapes[0][1] == 4 and shapes[1][2] == shapes[0][2] and _are_prototypes(shapes[2:])
    _, rows, columns = shapes[0]
    masks = shapes[-1][1] if len(shapes) > 1 else 0
    return rows > 4 + masks if rows < columns else columns > 5 + masks


def _are_prototypes(shapes: Shapes) -> bool:
    return all(len(shape) == 4 for shape in shapes)


def _yolox(shapes: Shapes, _outputs: Sequence[TensorInfo], size: Size) -> bool:
    (first, *others) = shapes
    return not others and len(first) == 3 and first[2] > 5 and first[1] == _count(size, YOLO_STRIDES)


def _picodet(shapes: Shapes, _outputs: Sequence[TensorInfo], size: Size) -> bool:
    maps = len(PICODET_STRIDES)
    if len(shapes) != 2 * maps or any(len(shape) != 3 for shape in shapes):
        return False
    counts = [_count(size, (stride,)) for stride in PICODET_STRIDES] * 2
    return [shape[1] for shape in shapes] == counts and all(shape[2] % 4 == 0 for shape in shapes[maps:])


def _ssd(shapes: Shapes, _outputs: Sequence[TensorInfo], _size: Size) -> bool:
    if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        return False
    last = sorted(shape[2] == 4 for shape in shapes)
    return last == [False, True] and min(shape[2] for shape in shapes) >= 2


def _segment(shapes: Shapes, outputs: Sequence[TensorInfo], size: Size) -> bool:
    whole = np.dtype(outputs[0].dtype).kind in "iub"
    return _could_be_segment(shapes, outputs, size) and (whole or shapes[0][-3] == 2 or shapes[0][-3] >= 4)


def _could_be_segment(shapes: Shapes, outputs: Sequence[TensorInfo], size: Size) -> bool:
    """One class for each place, as integers, or one score for each class and place; further outputs do not matter."""
    first = shapes[0]
    if len(first) not in (3, 4) or (len(first) == 3 and np.dtype(outputs[0].dtype).kind not in "iub"):
        return False
    return all(extent * _MASK_STRIDE >= whole for extent, whole in zip(first[-2:], size, strict=True))


def _is_vector(outputs: Sequence[TensorInfo]) -> bool:
    first = outputs[0]
    return len(outputs) == 1 and np.dtype(first.dtype).kind == "f" and _is_classes(first.shape)


def _is_classes(shape: tuple[int, ...]) -> bool:
    """(1, C), (1, C, 1, 1) or the like."""
    return len(shape) > 1 and sum(extent != 1 for extent in shape[1:]) == 1


def _count(size: Size, strides: tuple[int, ...]) -> int:
    return len(cells(size, strides, 0)[0])


Fits = Callable[[Shapes, Sequence[TensorInfo], Size], bool]
_FORMS: dict[str, Fits] = {
    "boxes": _boxes,
    "centerface": _centerface,
    "yolox": _yolox,
    "yolo": _yolo,
    "picodet": _picodet,
    "ssd": _ssd,
    SEGMENT: _segment,
    CLASSIFY: lambda _shapes, outputs, _size: _is_vector(outputs),
}
_COULD_BE: dict[str, Fits] = _FORMS | {
    "yolo": _could_be_yolo,
    SEGMENT: _could_be_segment,
    CLASSIFY: lambda shapes, _outputs, _size: _is_classes(shapes[0]),
}
