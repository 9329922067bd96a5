"""Images and their labels: an .npz file, a .csv list of files, or a directory."""

from __future__ import annotations

import csv
import io
import mimetypes
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, reason, system_errors
from eq_tvm.files.regular_file import open_file
from eq_tvm.inputs.image_files import read_image
from eq_tvm.inputs.input_form import network_input
from eq_tvm.preprocess import Preprocess

Item = TypeVar("Item", covariant=True)


class Indexed(Protocol[Item]):
    """Items by their numbers, made when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class Dataset:
    """Images, read when they are asked for.

    Attributes
    ----------
    images : Indexed
        Each uint8 (H, W, C), or numbers as the network takes them.
    names : Indexed of str
        What messages call each image.
    labels : np.ndarray, optional
        int64 (N,).
    """

    images: Indexed[np.ndarray]
    names: Indexed[str]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def input(self, index: int, shape: tuple[int, ...], preprocess: Preprocess | None) -> np.ndarray:
        """Image `index` as a network's float32 input of that shape (1, C, H, W); see `network_input`."""
        return network_input(self.images[index], TensorInfo("", shape, "float32"), preprocess, self.names[index])


class Numbered:
    """Names for what is in one file."""

    def __init__(self, what: str, path: str | Path, count: int):
        self._what, self._path, self._count = what, path, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        return f"{self._what} {index} of {self._path}" if self._count > 1 else f"{self._what} in {self._path}"


def read(path: str | Path) -> Dataset:
    """Open a set of images.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with `images` (uint8 NHWC, or as the network takes them) and perhaps `labels`; ``.csv`` with the
        columns `file` (relative to it) and perhaps `label`; or a directory of images, or of class subfolders with
        images, which give labels (folders named by numbers those numbers, others their place in alphabetical order). Of
        subfolders the first images come first, so that a part from the start has all classes. Labels count from 0.

    Raises
    ------
    UserError
        Nothing there, or not readable, or not of that form. A file that is no image is told when it is read.
    """
    path = Path(path)
    with system_errors(f"read {path}"):
        if not path.exists():
            raise UserError(f"no such file or directory: {path}")
        is_directory = path.is_dir()
    if is_directory:
        dataset = _read_directory(path)
    elif path.suffix.lower() == ".npz":
        dataset = of_arrays(read_arrays(path), path)
    elif path.suffix.lower() == ".csv":
        dataset = _read_csv(path)
    else:
        raise UserError(f"{path}: images come as an .npz file, a .csv file (columns file,label) or a directory")
    if not len(dataset):
        raise UserError(f"{path} contains no images")
    return dataset


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    with _load(path) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"can't read {path}: it is not an .npz archive")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of what is none
            raise UserError(f"can't read {path}: {name!r} in it is no array")
    return arrays


def read_array(path: str | Path) -> np.ndarray:
    """The array of an .npy file."""
    with _load(path) as array:
        if not isinstance(array, np.ndarray):
            raise UserError(f"can't read {path}: it is not an .npy file")
        return array


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file as `np.savez` does, which refuses an array of the name `file`."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def of_arrays(arrays: Mapping[str, np.ndarray], path: str | Path) -> Dataset:
    """What an .npz file with `images`, and perhaps `labels`, is read to."""
    if "images" not in arrays:
        raise UserError(f"{path} lacks the array `images`; it has: {', '.join(arrays) or 'nothing'}")
    images = arrays["images"]
    if not images.ndim or images.dtype.kind not in "biuf":
        raise UserError(f"{path}: `images` must be uint8 NHWC or the network's inputs, not {images.dtype}")
    if "labels" not in arrays and (others := [name for name in arrays if name in ("label", *_NEARLY_LABEL)]):
        raise UserError(f"{path}: the array with labels must be called `labels`, not `{others[0]}`")
    labels = checked_labels(arrays["labels"], len(images), path) if "labels" in arrays else None
    return Dataset(images, Numbered("image", path, len(images)), labels)


def of_files(files: Sequence[Path], labels: Sequence[int] | None = None) -> Dataset:
    """Image files, decoded one at a time, and perhaps their labels."""
    return Dataset(_Files(files), list(map(str, files)), None if labels is None else np.array(labels, np.int64))


def checked_labels(labels: np.ndarray, count: int, path: str | Path) -> np.ndarray:
    """The labels of so many images in an .npz file, as int64."""
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(f"{path}: `labels` must be {count} integers, not {labels.dtype} {labels.shape}")
    if count and not 0 <= labels.min() <= labels.max() < _LABELS:
        raise UserError(f"{path}: `labels` must be class numbers from 0, but go from {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


@contextmanager
def _load(path: str | Path) -> Iterator[Any]:
    """What numpy loads, with a UserError for what fails until the context ends."""
    try:
        with open_file(path) as file:
            yield np.load(file, allow_pickle=False)
    except UserError:
        raise
    except Exception as e:  # of a damaged file numpy and zipfile raise whatever they like
        raise UserError(f"can't read {path}: {reason(e)}") from e


class _Files:
    """Image files, decoded one at a time."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self._paths[index])


def _read_csv(path: Path) -> Dataset:
    try:
        with io.TextIOWrapper(open_file(path), newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"can't read {path}: {reason(e)}") from e
    if "file" not in columns:
        other = next((name for name in columns for mark in ";\t|" if mark in name), "")
        said = "; columns are separated by commas" if other else ""
        raise UserError(f"{path} lacks the column `file`; it has: {', '.join(columns) or 'nothing'}{said}")
    if "label" not in columns and (others := [name for name in columns if name in _NEARLY_LABEL]):
        raise UserError(f"{path}: the column with labels must be called `label`, not `{others[0]}`")
    if twice := [name for name in ("file", "label") if columns.count(name) > 1]:
        raise UserError(f"{path} has the column `{twice[0]}` twice")
    files = [_file(path.parent / (row["file"] or ""), where) for where, row in rows]
    labels = [_label(row["label"], where) for where, row in rows] if "label" in columns else None
    return of_files(files, labels)


_NEARLY_LABEL = ("labels", "class", "class_id")
_LABELS = 2**31  # at most, by far


def _file(path: Path, where: str) -> Path:
    try:
        there = path.is_file()
    except OSError:  # its name is too long
        there = False
    if not there:
        raise UserError(f"{where}: no such file: {path}")
    return path


def _label(text: str | None, where: str) -> int:
    digits = (text or "").strip()
    if not digits.isdecimal() or len(digits) > 20 or int(digits) >= _LABELS:
        raise UserError(f"{where}: the label must be a whole number from 0, not {text!r}")
    return int(digits)


def _read_directory(path: Path) -> Dataset:
    try:
        files = _image_files(path)
        inside = (folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith("."))
        classes = {folder: images for folder in inside if (images := _image_files(folder))}
    except OSError as e:
        raise UserError(f"can't read {e.filename}: {reason(e)}") from e
    if not classes:
        return of_files(files)
    if files:
        raise UserError(
            f"{path} has images ({files[0].name}) beside folders of images ({next(iter(classes)).name}), which are "
            "classes: leave only one of both there, or list the files in a .csv"
        )
    numbers = [folder.name for folder in classes if folder.name.isdecimal()]
    if names := numbers and [folder.name for folder in classes if folder.name not in numbers]:
        raise UserError(
            f"{path} has class folders named by numbers ({numbers[0]}) and others ({names[0]}): "
            "use numbers for all or none, or list the files in a .csv"
        )
    found = [
        (rank, _label(folder.name, str(folder)) if numbers else label, file)
        for label, (folder, images) in enumerate(classes.items())
        for rank, file in enumerate(images)
    ]
    found.sort()
    return of_files([file for *_, file in found], [label for _, label, _ in found])


def _image_files(folder: Path) -> list[Path]:
    """Those that Pillow reads, sorted; with a warning where it reads not all."""
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    others = [file for file in files if file.suffix.lower() not in suffixes]
    kinds = (mimetypes.guess_type(file.name, strict=False)[0] or "" for file in others)
    if left := [file.name for file, kind in zip(others, kinds, strict=True) if kind.startswith("image/")]:
        warnings.warn(f"{folder}: Pillow can't read {left[0]} and its like: {len(left)} left out", stacklevel=2)
    return [file for file in files if file.suffix.lower() in suffixes]
