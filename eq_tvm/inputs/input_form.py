"""From an array, of pixels or of numbers, to an input of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs.number_kind import number_kind
from eq_tvm.preprocess import CHANNELS, LAYOUTS, Placement, Preprocess


@dataclass(frozen=True)
class InputForm:
    """What one input of a network takes, item by item.

    An item is one image where the input takes images, of which it takes as many as its batch; else the input without a
    batch axis of 1, or all of it.

    Attributes
    ----------
    info : TensorInfo
    preprocess : Preprocess, optional
        For pixels. Without it they stay 0..255, grey where the network has one channel.
    """

    info: TensorInfo
    preprocess: Preprocess | None = None

    @property
    def layout(self) -> str | None:
        """``NCHW`` or ``NHWC`` where the input takes images, else None.

        As the preprocessing says; otherwise the input takes images where 1 or 3 channels are at axis 1, or else last.
        """
        if len(self.info.shape) != 4:
            return None
        if self.preprocess and self.preprocess.layout:
            return self.preprocess.layout
        return next((layout for layout in LAYOUTS if self.info.shape[layout.index("C")] in (1, 3)), None)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Of one item."""
        return self.info.shape[1:] if self.layout or self.info.shape[:1] == (1,) else self.info.shape

    @property
    def count(self) -> int:
        """How many items one run takes."""
        return self.info.shape[0] if self.layout else 1

    @property
    def is_grey(self) -> bool:
        """Whether the input takes images of one channel."""
        return self.layout is not None and self.info.shape[self.layout.index("C")] == 1

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the input; None where it takes no images."""
        if self.layout is None:
            return None
        return self.info.shape[self.layout.index("H")], self.info.shape[self.layout.index("W")]

    def placement(self, image: np.ndarray) -> Placement:
        """How an image becomes the input, which must take some: pixels are preprocessed, numbers are in place."""
        if image.dtype == np.uint8 and self._is_image(image):
            return self.steps.placement(*image.shape[:2])
        assert self.image_size is not None
        return Placement(self.image_size, self.image_size, self.image_size)

    @property
    def steps(self) -> Preprocess:
        """What is done to the pixels of an input that takes images."""
        return replace(self.preprocess or self._unchanged(), layout=self.layout)

    def items(self, array: np.ndarray, name: str) -> np.ndarray:
        """The items in an array, along a first axis: it may be one, or several, or several runs with their batch.

        Grey images may lack the axis of channels: uint8 (H, W) or (N, H, W), where the network has one channel.
        """
        if self._lacks_channels(array):
            array = array[..., np.newaxis]
        rank = len(self.item_shape)
        if array.ndim == rank:
            return array[np.newaxis]
        if array.ndim == rank + 2 and rank < len(self.info.shape) and array.shape[1] == self.info.shape[0]:
            return array.reshape(-1, *array.shape[2:])
        if array.ndim == rank + 1:
            return array
        raise self._misfit(array.shape, array, name)

    def item(self, array: np.ndarray, name: str) -> np.ndarray:
        """One item in the network's shape and dtype: of pixels if it is an image in uint8, else of these numbers.

        Numbers of another dtype are taken where the network's holds them, which rounds floats, but never to integers.

        Raises
        ------
        UserError
            It has another shape, its numbers don't fit the dtype, or they are not finite.
        """
        if self.layout and array.dtype == np.uint8 and (self._is_image(array) or self.info.dtype != "uint8"):
            return self._fitting(self._of_pixels(array, name), name)
        return _cast(self._fitting(array, name), np.dtype(self.info.dtype), name)

    def _fitting(self, item: np.ndarray, name: str) -> np.ndarray:
        if item.shape != self.item_shape:
            batch = self.info.shape[: len(self.info.shape) - len(self.item_shape)]
            raise self._misfit((*batch, *item.shape), item, name)
        return item

    def joined(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """The network's input of as many items as it takes."""
        return np.stack(items).reshape(self.info.shape)

    def __call__(self, array: np.ndarray, name: str) -> np.ndarray:
        """The network's input of an array that holds all of it, with or without a batch axis of 1.

        What has the input's shape and dtype is that input, even where it could be pixels.
        """
        if array.shape == self.info.shape and array.dtype == self.info.dtype:
            return _cast(array, array.dtype, name)
        items = self.items(array, name)
        if len(items) != self.count:
            raise self._misfit(array.shape, array, name)
        return self.joined([self.item(each, name) for each in items])

    def _lacks_channels(self, array: np.ndarray) -> bool:
        taken_as_it_is = array.shape == self.item_shape and self.info.dtype == "uint8"
        grey = self.is_grey and array.dtype == np.uint8 and not taken_as_it_is
        return grey and (array.ndim == 2 or (array.ndim == 3 and not self._is_image(array)))

    def _is_image(self, array: np.ndarray) -> bool:
        return array.ndim == 3 and array.shape[2] in (1, 3)

    def _of_pixels(self, image: np.ndarray, name: str) -> np.ndarray:
        if not self._is_image(image):
            raise UserError(f"{name}: a uint8 image has the shape (height, width, 1 or 3 channels), not {image.shape}")
        self._check_preprocess()
        preprocess = self.steps
        placement, channels = preprocess.placement(*image.shape[:2]), CHANNELS[preprocess.channels]
        _check_size(placement, preprocess, name)
        # what will not fit is not worth its memory
        shape = (channels, *placement.size) if self.layout == "NCHW" else (*placement.size, channels)
        self._fitting(np.broadcast_to(np.float32(0), shape), name)
        values = preprocess(image)
        cast = values.astype(self.info.dtype)
        if number_kind(self.info.dtype) != "f" and not (cast == values).all():
            raise UserError(
                f"{name}: the network takes pixels as {self.info.dtype}, which can't hold what the preprocessing makes "
                "of them: for uint8 give mean 0 and std 1, for int8 mean 128 and std 1"
            )
        return cast

    def _check_preprocess(self) -> None:
        """UserError where no image at all becomes this input: before one is resized to a size that takes all memory."""
        steps, layout = self.preprocess, self.layout
        if not steps or not layout:
            return
        channels, height, width = (self.info.shape[layout.index(axis)] for axis in "CHW")
        network = f"the network takes {self.info.shape}, {layout}" + (f", as {self.info.name}" * bool(self.info.name))
        if CHANNELS[steps.channels] != channels:
            key = "layout" if steps.layout and channels not in CHANNELS.values() else "channels"
            raise UserError(f"preprocessing: {key} {getattr(steps, key)} does not fit: {network}")
        last = next((key for key in ("letterbox", "crop", "resize") if getattr(steps, key)), "resize")
        if isinstance(size := getattr(steps, last), tuple) and size != (height, width):
            raise UserError(f"preprocessing: {last} {list(size)} does not fit: {network}")

    def _unchanged(self) -> Preprocess:
        """Pixels 0..255, grey where the network has one channel."""
        count = 1 if self.is_grey else 3
        return Preprocess("GRAY" if self.is_grey else "RGB", mean=(0.0,) * count, std=(1.0,) * count)

    def _misfit(self, shape: tuple[int, ...], array: np.ndarray, name: str) -> UserError:
        if self.layout and array.dtype == np.uint8 and self.info.dtype != "uint8" and array.ndim < 3:
            return UserError(f"{name}: a uint8 image has the shape (height, width, 1 or 3 channels), not {shape}")
        hint = ""
        if self.layout and len(shape) == 4 and shape != self.info.shape:
            channels = self.layout.index("C")
            same = shape[0] == self.info.shape[0] and shape[channels] == self.info.shape[channels]
            hint = "; compile it with preprocessing that has resize, or pass images of that size" * same
        return UserError(f"{name} becomes an input of shape {shape}, but the network takes {self.info.shape}{hint}")


def network_input(
    array: np.ndarray, info: TensorInfo, preprocess: Preprocess | None, name: str = "the image"
) -> np.ndarray:
    """Turn an image, or numbers, into an input of a network.

    Parameters
    ----------
    array : np.ndarray
        uint8 (H, W, C), where the network takes images: pixels, which are preprocessed; (H, W) will do for grey. Else
        what the network takes, with or without a batch axis of 1.
    info : TensorInfo
    preprocess : Preprocess, optional
    name : str
        Names the array in messages.

    Raises
    ------
    UserError
        See `InputForm.item`.
    """
    return InputForm(info, preprocess)(array, name)


def _check_size(placement: Placement, preprocess: Preprocess, name: str) -> None:
    height, width = placement.scaled
    if any(a < b for a, b in zip(placement.scaled, preprocess.crop or (0, 0), strict=True)):
        raise UserError(
            f"{name} is {height} x {width}, less than crop {list(preprocess.crop or ())}: let the preprocessing have "
            "a larger resize, the length of the shorter side"
        )
    if preprocess.crop and height * width > _MOST_PIXELS:
        raise UserError(f"{name} becomes {height} x {width} by resize {preprocess.resize}: that is too large")


_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # as much as Pillow reads


def _cast(array: np.ndarray, wanted: np.dtype, name: str) -> np.ndarray:
    """The same numbers in another dtype."""
    kind = number_kind(array.dtype)
    if kind not in "biuf" or (kind == "f" and number_kind(wanted) != "f"):
        raise UserError(f"{name} is {array.dtype}, but the network takes {wanted}")
    if kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name} contains NaN or infinity")
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
        fits = np.isfinite(cast) if kind == "f" else (cast == array) & (cast.astype(array.dtype) == array)
    if not fits.all():
        raise UserError(f"{name} is {array.dtype} with numbers that the network's {wanted} can't hold")
    return cast
