"""What is in images, as people have marked it: boxes in COCO's json, or an image of classes for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eq_tvm.errors import UserError, reason, system_errors
from eq_tvm.tasks.average_precision import Truth


@dataclass(frozen=True)
class Annotations:
    """Boxes in images.

    Attributes
    ----------
    path : Path
    images : mapping of str to Truth
        By the file's name, as the json has it; classes are ids of categories.
    categories : mapping of int to str
        Names by ids, in the order of the ids.
    sizes : mapping of str to (int, int)
        Height and width of those images of which the json says so.
    """

    path: Path
    images: Mapping[str, Truth]
    categories: Mapping[int, str]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def of(self, name: str, size: tuple[int, int]) -> Truth:
        """Of the image file with this path, which may have more folders in front than the json, and (height, width).

        Raises
        ------
        UserError
            It is not in the json, or of another size there.
        """
        parts = Path(name).parts
        for start in range(len(parts)):
            key = "/".join(parts[start:])
            if (truth := self.images.get(key)) is not None:
                if self.sizes.get(key, size) != size:
                    there, here = (f"{width} x {height}" for height, width in (self.sizes[key], size))
                    raise UserError(
                        f"{self.path} has boxes for an image {name} of {there} pixels, but the file has {here}: pass "
                        "the images that the boxes were marked in"
                    )
                return truth
        raise UserError(
            f"{self.path} has no image with the file_name {Path(name).name}: it must list all images of DATA"
        )


def read_annotations(path: str | Path) -> Annotations:
    """Read COCO's json of instances: `images` (id, file_name), `annotations` (image_id, category_id, bbox, perhaps
    iscrowd), `categories` (id, name). A bbox is left, top, width and height in pixels.

    Raises
    ------
    UserError
        No such file, or not of that form.
    """
    path = Path(path)
    with system_errors(f"read the annotations {path}"):
        if not path.is_file():
            raise UserError(f"no such file of annotations: {path}")
        content = path.read_bytes()
    try:
        return _annotations(path, json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        lacks = f"it lacks {reason(e)}" if isinstance(e, KeyError) else reason(e)
        raise UserError(
            f"the annotations {path} are not COCO's json (images, annotations with a bbox, categories): {lacks}"
        ) from e


def _annotations(path: Path, content: Any) -> Annotations:
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    categories = {int(each["id"]): str(each["name"]) for each in content["categories"]}
    names = {each["id"]: Path(each["file_name"]).as_posix() for each in content["images"]}
    marked: dict[Any, list[tuple[list[float], int, bool]]] = {image: [] for image in names}
    for each in content["annotations"]:
        left, top, width, height = map(float, each["bbox"])
        if each["category_id"] not in categories:
            raise ValueError(f"an annotation has the category {each['category_id']}, which is not among the categories")
        corners = [left, top, left + width, top + height]
        if not np.isfinite(corners).all():
            raise ValueError(f"a bbox has {each['bbox']}, which are not all numbers")
        if each["image_id"] not in marked:
            raise ValueError(f"an annotation is of the image {each['image_id']}, which is not among the images")
        marked[each["image_id"]].append((corners, each["category_id"], bool(each.get("iscrowd", 0))))
    return Annotations(
        path,
        {names[image]: _truth(rows) for image, rows in marked.items()},
        dict(sorted(categories.items())),
        {
            names[each["id"]]: (int(each["height"]), int(each["width"]))
            for each in content["images"]
            if each.get("height") and each.get("width")
        },
    )


def _truth(rows: list[tuple[list[float], int, bool]]) -> Truth:
    corners, classes, crowd = zip(*rows, strict=True) if rows else ((), (), ())
    return Truth(np.reshape(corners, (-1, 4)).astype(float), np.array(classes, np.int64), np.array(crowd, bool))


def read_label_image(folder: str | Path, name: str) -> np.ndarray:
    """The classes (H, W) of an image's pixels: of the .png in a folder that is called as the image.

    Raises
    ------
    UserError
        There is none, or its pixels are colours. (Those of a palette are classes.)
    """
    path = Path(folder) / f"{Path(name).stem}.png"
    with system_errors(f"read the label image {path}"):
        if not path.is_file():
            raise UserError(f"no label image for {name}: {path} is not there")
    try:
        with Image.open(path) as picture:
            picture.load()
            mode, classes = picture.mode, np.asarray(picture)
    except Exception as e:  # Pillow's decoders raise whatever they like
        raise UserError(f"can't read the label image {path}: {reason(e)}") from e
    if classes.ndim != 2:
        raise UserError(
            f"the label image {path} has colours ({mode}): save classes as grey values or a palette's numbers"
        )
    return classes.astype(np.int64)
