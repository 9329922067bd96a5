"""Files for `run`: images, or arrays that are inputs of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from eq_tvm import data as datasets
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, system_errors
from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess

ARRAYS = (".npy", ".npz")


def read_inputs(
    paths: Sequence[Path], expected: tuple[TensorInfo, ...], preprocess: Preprocess | None
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What files give a network to run on.

    Parameters
    ----------
    paths : sequence of Path
        Images, of which a network takes as many at a time as its batch. An ``.npy`` with one input or image, or several
        along a further first axis; an ``.npz`` with an array for each input by its name, or with `images`: see
        `Samples.read`.
    expected : tuple of TensorInfo
        The network's inputs.
    preprocess : Preprocess, optional
        For pixels (images and uint8 arrays); other arrays are taken as they are.

    Yields
    ------
    (str, dict)
        A name for people, and what `Model.run` takes.

    Raises
    ------
    UserError
        A file can't be read, or does not fit the network's inputs.
    """
    for path in paths:
        with system_errors(f"read {path}"):
            if path.is_dir():
                raise UserError(f"{path} is a directory: pass the files in it, such as {path}/*.png")
            if not path.is_file():
                raise UserError(f"no such input file: {path}")
    for arrays, group in groupby(paths, lambda path: path.suffix.lower() in ARRAYS):
        for files in [[file] for file in group] if arrays else [list(group)]:
            samples = _samples(files, expected, preprocess)
            for index in range(len(samples)):
                yield samples.name(index), samples[index]


def _samples(files: list[Path], expected: tuple[TensorInfo, ...], preprocess: Preprocess | None) -> Samples:
    """Of one file with arrays, or of some images."""
    if files[0].suffix.lower() == ".npz":
        samples = Samples.read(files[0], expected, preprocess)
    elif len(expected) > 1:
        names = ", ".join(info.name for info in expected)
        raise UserError(f"{files[0]} is one input; the network has {len(expected)}: pass an .npz with {names}")
    elif files[0].suffix.lower() == ".npy":
        samples = Samples.of_arrays(files[0], {expected[0].name: datasets.read_array(files[0])}, expected, preprocess)
    else:
        samples = Samples.of_images(", ".join(map(str, files)), datasets.of_files(files), expected[0], preprocess)
    if left := samples.left_over:
        are = "is" if left == 1 else "are"
        raise UserError(
            f"{samples.source}: the network takes {samples.images_each} images at a time; {left} {are} left"
        )
    return samples
