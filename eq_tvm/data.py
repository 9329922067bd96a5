"""Images and their labels: an .npz file, a .csv list of files, or a directory."""

from __future__ import annotations

import csv
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess, network_input

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
        Each uint8 (H, W, C) or float32 (C, H, W).
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
        return network_input(self.images[index], shape, preprocess, self.names[index])


def read(path: str | Path) -> Dataset:
    """Open a set of images.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with `images` (uint8 NHWC or float32 NCHW) and perhaps `labels`; ``.csv`` with the columns `file`
        (relative to it) and perhaps `label`; or a directory of images, whose class subfolders give labels (folders
        named by numbers those numbers, others their place in alphabetical order). Of subfolders the first images
        come first, so that a part from the start has all classes.

    Raises
    ------
    UserError
        Nothing there, or not readable, or not of that form. A file that is no image is told when it is read.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"no such file or directory: {path}")
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.is_dir():
        dataset = _read_directory(path)
    elif path.suffix.lower() in readers:
        dataset = readers[path.suffix.lower()](path)
    else:
        raise UserError(f"{path}: images come as an .npz file, a .csv file (columns file,label) or a directory")
    if not len(dataset):
        raise UserError(f"{path} contains no images")
    return dataset


def read_image(path: str | Path) -> np.ndarray:
    """Decode one image file to uint8 RGB (H, W, 3)."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:  # what Pillow's decoders raise
        raise UserError(f"can't read the image {path}: {getattr(e, 'strerror', None) or _one_line(e)}") from e


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is not an .npz archive")
        with archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as e:
        raise UserError(f"can't read {path}: {getattr(e, 'strerror', None) or _one_line(e)}") from e


class _Files:
    """Image files, decoded one at a time."""

    def __init__(self, paths: list[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self._paths[index])


class _Numbered:
    """Names for the images of one file."""

    def __init__(self, path: Path, count: int):
        self._path, self._count = path, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        return f"image {index} of {self._path}"


def _read_npz(path: Path) -> Dataset:
    arrays = read_arrays(path)
    if "images" not in arrays:
        raise UserError(f"{path} lacks the array `images`; it has: {', '.join(arrays) or 'nothing'}")
    images, labels = arrays["images"], arrays.get("labels")
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise UserError(f"{path}: `images` must be uint8 NHWC or float32 NCHW, not {images.dtype} {images.shape}")
    if labels is not None:
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise UserError(f"{path}: `labels` must be {len(images)} integers, not {labels.dtype} {labels.shape}")
        labels = labels.astype(np.int64)
    return Dataset(images, _Numbered(path, len(images)), labels)


def _read_csv(path: Path) -> Dataset:
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            columns, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"can't read {path}: {getattr(e, 'strerror', None) or _one_line(e)}") from e
    if "file" not in columns:
        raise UserError(f"{path} lacks the column `file`; it has: {', '.join(columns) or 'nothing'}")
    files = [path.parent / (row["file"] or "") for _, row in rows]
    for (line, _), file in zip(rows, files, strict=True):
        if not file.is_file():
            raise UserError(f"{path}, line {line}: no such file: {file}")
    labels = [_label(row["label"], path, line) for line, row in rows] if "label" in columns else None
    return _of_files(files, labels)


def _read_directory(path: Path) -> Dataset:
    if files := _image_files(path):
        return _of_files(files, None)
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    numbered = all(folder.name.isdecimal() for folder in folders)
    found = [
        (rank, int(folder.name) if numbered else label, file)
        for label, folder in enumerate(folders)
        for rank, file in enumerate(_image_files(folder))
    ]
    found.sort()
    return _of_files([file for *_, file in found], [label for _, label, _ in found])


def _of_files(files: list[Path], labels: list[int] | None) -> Dataset:
    return Dataset(_Files(files), list(map(str, files)), None if labels is None else np.array(labels, np.int64))


def _image_files(folder: Path) -> list[Path]:
    suffixes = Image.registered_extensions()
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))


def _label(text: str | None, path: Path, line: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise UserError(f"{path}, line {line}: the label must be a whole number, not {text!r}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
