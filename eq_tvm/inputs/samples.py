"""What a network runs on, run by run, from files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eq_tvm import data as datasets
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.data import Dataset
from eq_tvm.errors import UserError, counted, system_errors
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.inputs.number_kind import number_kind
from eq_tvm.preprocess import Placement, Preprocess


@dataclass(frozen=True)
class Samples:
    """All inputs of a network for one run after another, made when they are asked for.

    A sample has as many images as the network's batch, which follow each other; those left at the end are in none.

    Attributes
    ----------
    source : str
        Where they are from, for people.
    parts : sequence of (InputForm, Dataset)
        For each input, in the network's order, the items that it is made of. The first one's may have labels.
    """

    source: str
    parts: Sequence[tuple[InputForm, Dataset]]

    def __post_init__(self) -> None:
        (form, dataset), *_ = self.parts
        if not len(dataset):
            raise UserError(f"{self.source} contains no images")
        if not len(self):
            raise UserError(
                f"{self.source} has {counted(len(dataset), 'image')}, but the network takes {form.count} at a time"
            )
        for other, others in self.parts:
            if len(others) // other.count != len(self):
                raise UserError(
                    f"{self.source} has {counted(len(self), 'sample')} of {form.info.name}, but "
                    f"{len(others) // other.count} of {other.info.name}"
                )
        if dataset.labels is not None and len(dataset.labels) != len(dataset):
            raise UserError(
                f"{self.source} has {counted(len(dataset.labels), 'label')} for {counted(len(dataset), 'image')}"
            )

    @classmethod
    def read(cls, path: str | Path, inputs: Sequence[TensorInfo], preprocess: Preprocess | None) -> Samples:
        """Open a set of images, as `eq_tvm.data.read`, or an .npz with an array for each input by its name.

        Such an array has the samples along an axis in front of the input's shape, or in place of a batch axis of 1; a
        single one may do without. `labels` may be beside them.
        """
        path, names = Path(path), [info.name for info in inputs]
        with system_errors(f"read {path}"):
            archive = path.suffix.lower() == ".npz" and path.is_file()
        if archive:
            arrays = datasets.read_arrays(path)
            if len(names) > 1 or "images" not in arrays or names == ["images"]:
                return cls.of_arrays(path, arrays, inputs, preprocess)
            return cls.of_images(path, datasets.of_arrays(arrays, path), inputs[0], preprocess)
        dataset = datasets.read(path)
        if len(names) > 1:
            raise UserError(f"{path}: the network has several inputs: pass an .npz with the arrays {', '.join(names)}")
        return cls.of_images(path, dataset, inputs[0], preprocess)

    @classmethod
    def of_images(cls, source: str | Path, images: Dataset, info: TensorInfo, preprocess: Preprocess | None) -> Samples:
        """For a network with one input."""
        form = InputForm(info, preprocess)
        if isinstance(images.images, np.ndarray):
            items = form.items(images.images, f"images in {source}")
            images = Dataset(items, datasets.Numbered("image", source, len(items)), images.labels)
        return cls(str(source), [(form, images)])

    @classmethod
    def of_arrays(
        cls,
        source: str | Path,
        arrays: Mapping[str, np.ndarray],
        inputs: Sequence[TensorInfo],
        preprocess: Preprocess | None,
    ) -> Samples:
        """Arrays by the inputs' names, and perhaps `labels`."""
        names = [info.name for info in inputs]
        if set(arrays) - {"labels"} != set(names) - {"labels"} or not set(names) <= set(arrays):
            raise UserError(f"{source} has the arrays {', '.join(arrays) or 'none'}; the inputs are {', '.join(names)}")
        parts: list[tuple[InputForm, Dataset]] = []
        for info in inputs:
            form, what = InputForm(info, preprocess), f"{info.name} in {source}"
            items = form.items(arrays[info.name], what)
            if len(items) % form.count:
                raise UserError(
                    f"{what} has {counted(len(items), 'image')}, but the network takes {form.count} at a time"
                )
            labels = None
            if not parts and set(arrays) > set(names):
                labels = datasets.checked_labels(arrays["labels"], len(items), source)
            parts.append((form, Dataset(items, datasets.Numbered(info.name, source, len(items)), labels)))
        return cls(str(source), parts)

    def __len__(self) -> int:
        form, dataset = self.parts[0]
        return len(dataset) // form.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """By their names all inputs of a run, in the network's shapes and dtypes."""
        return {form.info.name: form.joined(_items(form, dataset, index)) for form, dataset in self.parts}

    def warn_of_raw_pixels(self) -> None:
        """Warn where a network of floats gets pixels as they are.

        Only because nothing says how to preprocess them, or because they came as floats.
        """
        raw = [form for form, dataset in self.parts if _raw_pixels(form, dataset)]
        if raw:
            order = "" if all(form.is_grey for form in raw) else ", in the order RGB"
            warnings.warn(
                f"{self.source} goes into the network as pixels from 0 to 255{order}: say how it was trained by "
                "--preprocess FILE (if just so, with mean 0 and std 1)",
                stacklevel=2,
            )
        if any(_beyond_preprocessed(form, dataset) for form, dataset in self.parts):
            warnings.warn(
                f"{self.source} has floats far beyond what preprocessing makes of pixels, and they go into the network "
                "as they are: pass pixels as uint8 to have them preprocessed",
                stacklevel=2,
            )

    def name(self, index: int) -> str:
        """What people call a sample: its file, and the place where that has several."""
        form, dataset = self.parts[0]
        if isinstance(dataset.images, np.ndarray):
            return self.source if len(self) == 1 else f"{self.source}[{index}]"
        more = f" and {form.count - 1} more" if form.count > 1 else ""
        return f"{dataset.names[index * form.count]}{more}"

    def labels(self, index: int) -> np.ndarray | None:
        """Of each of its images, int64."""
        form, dataset = self.parts[0]
        return None if dataset.labels is None else dataset.labels[index * form.count : (index + 1) * form.count]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the first input; None where it takes no images."""
        return self.parts[0][0].image_size

    def images(self, index: int) -> list[tuple[str, Placement]]:
        """The name of each image of a sample, and how it becomes the input.

        Only where the first input takes images.
        """
        form, dataset = self.parts[0]
        numbers = range(index * form.count, (index + 1) * form.count)
        return [(dataset.names[number], form.placement(dataset.images[number])) for number in numbers]

    @property
    def images_each(self) -> int:
        """How many images a sample has: the network's batch."""
        return self.parts[0][0].count

    @property
    def left_over(self) -> int:
        """How many images are in no sample."""
        return len(self.parts[0][1]) % self.images_each


def _raw_pixels(form: InputForm, dataset: Dataset) -> bool:
    floats = number_kind(form.info.dtype) == "f"
    images = not isinstance(dataset.images, np.ndarray) or dataset.images.dtype == np.uint8
    return form.preprocess is None and form.layout is not None and floats and images


def _beyond_preprocessed(form: InputForm, dataset: Dataset) -> bool:
    """Whether floats, which nothing preprocesses, are probably pixels."""
    steps, images = form.preprocess, dataset.images
    if steps is None or form.layout is None or not isinstance(images, np.ndarray) or images.dtype.kind != "f":
        return False
    mean, std = np.asarray(steps.mean, float), np.asarray(steps.std, float)
    low, high = (-mean / std).min(), ((255 - mean) / std).max()
    return bool(np.abs(images[:_LOOKED_AT]).max(initial=0) > 2 * max(-low, high))


_LOOKED_AT = 8  # images


def _items(form: InputForm, dataset: Dataset, index: int) -> list[np.ndarray]:
    numbers = range(index * form.count, (index + 1) * form.count)
    return [form.item(dataset.images[i], dataset.names[i]) for i in numbers]
