"""Names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eq_tvm.errors import UserError, counted, system_errors

BUILT_IN = ("imagenet", "coco")
# Of COCO's 80 classes; 11 numbers up to 91 were never used. What ends in boxes by itself (torchvision's detectors)
# counts by these, YOLO-type networks by the classes' places.
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))


def read_labels(labels: str | Path) -> tuple[str, ...]:
    """Names of classes, by their numbers from 0.

    Parameters
    ----------
    labels : str or Path
        A text file, UTF-8, with one name a line; empty lines at its end do not count. Or ``imagenet``, the 1000 classes
        of ILSVRC 2012 in the order in which networks are trained on them, or ``coco``, the 80 of COCO 2017.

    Raises
    ------
    UserError
        No such file, or not of that form.
    """
    built_in = str(labels) in BUILT_IN
    path = Path(__file__).parent / f"{labels}.txt" if built_in else Path(labels)
    with system_errors(f"read the labels {path}"):
        if not path.is_file():
            raise UserError(f"no such file of labels: {path}: pass a text file with one name a line, imagenet or coco")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as e:
            raise UserError(f"the labels {path} are no text in UTF-8") from e
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names:
        raise UserError(f"the labels {path} are empty: write one name a line")
    return names


def check_count(names: Sequence[str], classes: int, labels: str | Path) -> None:
    """Raise a UserError where a network of so many classes can't have these names.

    One more class than names is right: the first is then the background.
    """
    if len(names) not in (classes, classes - 1):
        raise _other_classes(names, classes, labels)


def in_order(names: Sequence[str], classes: int) -> tuple[str, ...]:
    """Names for each class of a score vector: the first is the background where there is one name less."""
    return ("background", *names) if len(names) == classes - 1 else tuple(names)


def of_boxes(names: Sequence[str], classes: int | None, labels: str | Path) -> dict[int, str]:
    """Names of a detector's classes, by their numbers.

    As many as it has classes; or one more, the first for a background, which is no class of boxes; or COCO's 80 for 90
    classes. A detector that does not say how many it has counts as torchvision's (see `by_category`).

    Raises
    ------
    UserError
        It has other classes than names.
    """
    if classes is None:
        return by_category(names)
    if len(names) == classes:
        return dict(enumerate(names))
    if len(names) == classes + 1 and names[0].strip("_").lower() == "background":
        return dict(enumerate(names[1:]))
    if (len(names), classes) == (len(COCO_IDS), max(COCO_IDS)):
        return {number - 1: name for number, name in by_category(names).items()}
    raise _other_classes(names, classes, labels)


def by_category(names: Sequence[str]) -> dict[int, str]:
    """Names for detectors that count as torchvision's: from 1, and COCO's 80 by their numbers up to 90."""
    return dict(zip(COCO_IDS, names, strict=True) if len(names) == len(COCO_IDS) else enumerate(names, 1))


def _other_classes(names: Sequence[str], classes: int, labels: str | Path) -> UserError:
    return UserError(
        f"the labels {labels} have {counted(len(names), 'name')}, but the network has "
        f"{counted(classes, 'class', 'classes')}: pass the file of names that it was trained with"
    )
