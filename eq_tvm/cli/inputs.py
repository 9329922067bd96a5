"""Files for one run of a network: images, or tensors that are its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eq_tvm import data as datasets
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess, network_input


def read_inputs(
    path: str | Path, expected: tuple[TensorInfo, ...], preprocess: Preprocess | None
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What one file gives a network to run on.

    Parameters
    ----------
    path : str or Path
        An image; an ``.npy`` with one input or image, or several along a further first axis; an ``.npz`` with the
        inputs by their names, or with `images` as `eq_tvm.data.read` takes it.
    expected : tuple of TensorInfo
        The network's inputs.
    preprocess : Preprocess, optional
        For pixels (images and uint8 arrays); float32 arrays are taken as they are.

    Yields
    ------
    (str, dict)
        A name for people, and what `Model.run` takes.

    Raises
    ------
    UserError
        The file can't be read, or does not fit the network's inputs.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such input file: {path}")
    names = [info.name for info in expected]
    arrays = datasets.read_arrays(path) if path.suffix.lower() == ".npz" else None
    if arrays is not None and (len(names) > 1 or "images" not in arrays or names == ["images"]):
        if set(arrays) != set(names):
            raise UserError(f"{path} has the arrays {', '.join(arrays) or 'none'}; the inputs are {', '.join(names)}")
        inputs = {i.name: network_input(arrays[i.name], i.shape, preprocess, f"{i.name} in {path}") for i in expected}
        yield str(path), inputs
        return
    if len(names) > 1:
        raise UserError(f"{path} is one input; the network has {len(names)}: pass an .npz with {', '.join(names)}")
    info = expected[0]
    if arrays is not None:
        images = datasets.read(path).images
        named = [(f"{path}[{i}]", images[i]) for i in range(len(images))]
    elif path.suffix.lower() == ".npy":
        named = list(_split(path, info))
    else:
        named = [(str(path), datasets.read_image(path))]
    for name, image in named:
        yield name, {info.name: network_input(image, info.shape, preprocess, name)}


def _split(path: Path, info: TensorInfo) -> Iterator[tuple[str, np.ndarray]]:
    """The inputs in an .npy file, each without the batch axis."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise UserError(f"can't read {path}: {' '.join(str(e).split())}") from e
    if array.ndim == len(info.shape):
        yield from ((f"{path}[{i}]", item) for i, item in enumerate(array))
    else:
        yield str(path), array
