"""Runs the network beside this file, by ctypes: needs numpy, for images also Pillow, and neither TVM nor eq_tvm.

    python3 eq_model.py cat.jpg

prints the highest scores. In a program, with this directory in PYTHONPATH:

    from eq_model import Model

    scores = Model().run("cat.jpg")["scores"]
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

# Filled in by eq_tvm.
LIBRARY: str = ""
INPUTS: int = 0
OUTPUTS: int = 0
IMAGES: dict[str, dict[str, Any]] = {}  # inputs that take images: how pixels become numbers
ROWS: dict[str, tuple[int, str]] = {}  # outputs with as many rows as the data choose: axis, and what counts them

TOP = 5


class Model:
    """The network. Several threads may call one object at the same time.

    Attributes
    ----------
    inputs, outputs : dict from str to (tuple of int, np.dtype)
        Shape and type of each, by its name, in the network's order.

    Parameters
    ----------
    path : str or Path, optional
        The shared object, by default the one beside this file.

    Raises
    ------
    OSError
        It can't be loaded here.
    """

    def __init__(self, path: str | Path | None = None):
        path = Path(path or Path(__file__).with_name(LIBRARY)).absolute()
        try:
            library = ctypes.CDLL(str(path))
        except OSError as e:
            raise OSError(f"{e} (this machine is {platform.machine()}: was it compiled for another?)") from e
        for function in (library.eq_model_inputs, library.eq_model_outputs):
            function.restype = ctypes.POINTER(_Tensor)
        library.eq_model_workspace_size.restype = ctypes.c_size_t
        library.eq_model_run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        self._run, self._size = library.eq_model_run, library.eq_model_workspace_size()
        self._own = threading.local()  # each thread's workspace
        self.inputs = _described(library.eq_model_inputs(), INPUTS)
        self.outputs = _described(library.eq_model_outputs(), OUTPUTS)

    def run(self, inputs: Any, threads: int | None = None) -> dict[str, np.ndarray]:
        """Run the network once.

        Parameters
        ----------
        inputs : array, image or dict of them by the names of inputs
            Alone where the network has one input. An array has the input's shape, with or without a batch axis of 1,
            and its dtype, or one that loses nothing in it. Of an input that takes images also a file name (as many in
            a list as its batch), or pixels, uint8 (height, width, 1 or 3 channels in RGB), which are then preprocessed.
        threads : int, optional
            How many compute; by default one for each processor, and never more than the target has cores.

        Returns
        -------
        dict from str to np.ndarray

        Raises
        ------
        TypeError, ValueError
            Another name, shape or dtype than the network takes, or NaN or infinity.
        RuntimeError
            This processor lacks instructions that the network was compiled for.
        """
        arrays = self._arrays(inputs)
        results = {name: np.empty(shape, dtype) for name, (shape, dtype) in self.outputs.items()}
        if not hasattr(self._own, "workspace"):
            self._own.workspace = np.empty(self._size, np.uint8)
        threads = len(os.sched_getaffinity(0)) if threads is None else threads
        code = self._run(_pointers(arrays), _pointers(results.values()), self._own.workspace.ctypes.data, threads)
        if code == -2:
            raise RuntimeError("this processor lacks instructions that the network was compiled for: another --target")
        if code:
            raise RuntimeError("the network could not run")
        counts = {name: int(results[name].ravel()[0]) for _, name in ROWS.values()}
        for name, (axis, count) in ROWS.items():
            results[name] = results[name].take(range(counts[count]), axis)
        return {name: result for name, result in results.items() if name not in counts}

    def _arrays(self, inputs: Any) -> list[np.ndarray]:
        if not isinstance(inputs, dict):
            if len(self.inputs) != 1:
                raise TypeError(f"the network takes a dict with {', '.join(self.inputs)}")
            inputs = dict.fromkeys(self.inputs, inputs)
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"the network takes {', '.join(self.inputs)}, not {', '.join(map(str, inputs))}")
        return [_array(name, inputs[name], *what) for name, what in self.inputs.items()]


class _Tensor(ctypes.Structure):
    """eq_model_tensor of eq_model.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("rank", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("bytes", ctypes.c_size_t),
    )


def _described(tensors: Any, count: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {
        each.name.decode(): (tuple(each.shape[: each.rank]), np.dtype(each.dtype.decode()))
        for each in (tensors[index] for index in range(count))
    }


def _pointers(arrays: Any) -> Any:
    addresses = [array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _array(name: str, given: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An input as the library takes it: in C order, of this shape and dtype."""
    if isinstance(given, (str, Path)):
        given = [given]
    if isinstance(given, (list, tuple)) and given and all(isinstance(each, (str, Path)) for each in given):
        return _of_images(name, [_read_image(name, each) for each in given], shape, dtype)
    array = np.asarray(given)
    if name in IMAGES and array.dtype == np.uint8 and (dtype != np.uint8 or array.shape not in (shape, shape[1:])):
        return _of_images(name, list(array) if array.ndim == 4 else [array], shape, dtype)
    if array.shape != shape and (1, *array.shape) != shape:
        raise ValueError(f"{name} has the shape {array.shape}, the network takes {shape}")
    if not np.can_cast(array.dtype, dtype):
        raise TypeError(f"{name} is {array.dtype}, the network takes {dtype}: convert it by .astype({str(dtype)!r})")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinity")
    return np.ascontiguousarray(array, dtype).reshape(shape)


def _of_images(name: str, images: list[np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if len(images) != shape[0]:
        raise ValueError(f"{name} takes {shape[0]} image{'s' * (shape[0] != 1)}, not {len(images)}")
    values = np.stack([_preprocessed(name, image, **IMAGES[name]) for image in images])
    if values.shape != shape:
        raise ValueError(f"{name}: the image becomes {values.shape}, the network takes {shape}")
    cast = np.ascontiguousarray(values.astype(dtype))
    if dtype.kind != "f" and not (cast == values).all():
        raise ValueError(f"{name}: {dtype} can't hold what the preprocessing makes of pixels")
    return cast


def _read_image(name: str, path: str | Path) -> np.ndarray:
    """Upright, uint8 RGB, transparent pixels on white."""
    from PIL import Image, ImageOps

    if name not in IMAGES:
        raise TypeError(f"{name} takes no images, but numbers: pass an array")
    with Image.open(path) as image:
        image.load()
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{path} has pixels of more than 8 bits: save it in 8 bits")
        picture: Image.Image = ImageOps.exif_transpose(image) or image
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return np.asarray(picture.convert("RGB"))


def _preprocessed(
    name: str, image: np.ndarray, channels: str, mean: list[float], std: list[float], layout: str, **sizes: Any
) -> np.ndarray:
    """(pixel - mean) / std in float32."""
    from PIL import Image

    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"{name}: pixels are (height, width, 1 or 3 channels), not {image.shape}")
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture = picture.convert("L" if channels == "GRAY" else "RGB")
    pixels = np.atleast_3d(np.asarray(_sized(picture, **sizes), dtype=np.float32))
    if channels == "BGR":
        pixels = pixels[:, :, ::-1]
    values = (pixels - np.array(mean, np.float32)) / np.array(std, np.float32)
    return values if layout == "NHWC" else values.transpose(2, 0, 1)


def _sized(picture: Any, resize: Any = None, crop: Any = None, letterbox: Any = None) -> Any:
    """Resized (a number is the shorter side), then cropped to the middle; or fitted into a letterbox with grey bars."""
    from PIL import Image

    height, width = scaled = picture.height, picture.width
    if letterbox:
        scale = min(letterbox[0] / height, letterbox[1] / width)
        scaled = min(max(1, round(scale * height)), letterbox[0]), min(max(1, round(scale * width)), letterbox[1])
    elif isinstance(resize, int):
        scaled = max(1, resize * height // min(height, width)), max(1, resize * width // min(height, width))
    elif resize:
        scaled = resize
    if tuple(scaled) != (height, width):
        picture = picture.resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR)
    size = letterbox or crop or scaled
    more = size[0] - scaled[0], size[1] - scaled[1]
    if crop and max(more) > 0:
        raise ValueError(f"the image is {scaled[0]} x {scaled[1]}, less than {crop[0]} x {crop[1]} that are cut out")
    if not any(more):
        return picture
    top, left = (round(each / 2 - 0.1) if letterbox else -round(-each / 2) for each in more)
    ground = Image.new(picture.mode, (size[1], size[0]), BAR if picture.mode == "L" else (BAR,) * 3)
    ground.paste(picture, (left, top))
    return ground


BAR = 114  # grey


def _main(files: list[str]) -> int:
    if not files:
        print(f"usage: {sys.argv[0]} IMAGE...", file=sys.stderr)
        return 2
    try:
        model = Model()
        each = next(iter(model.inputs.values()))[0][0] if len(model.inputs) == 1 and IMAGES else 1
        for start in range(0, len(files), each):
            print(", ".join(files[start : start + each]))
            for name, result in model.run(files[start : start + each]).items():
                scores = result.ravel()
                for index in np.argsort(-scores.astype(np.float64), kind="stable")[:TOP]:
                    print(f"  {name} {index:6d}  {scores[index]:.4f}")
    except (OSError, TypeError, ValueError, RuntimeError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
