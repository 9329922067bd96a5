"""The trained networks, and the images that calibrate and judge them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from peers.accuracy_entrants import Task
from peers.models import HERE

DATA = HERE.parent.parent / "shared" / "data"
FACES = "faces"
# By data set: what calibrates, and what is scored.
SETS = {
    "imagenet": ("imagenet/calib_labels.csv", "imagenet/eval_labels.csv"),
    "cifar10": ("cifar10/calib.npz", "cifar10/eval.npz"),
    FACES: ("faces/calib_files.csv", "faces/eval_files.csv"),
}


@dataclass(frozen=True)
class Trained:
    """A trained network with its images.

    Attributes
    ----------
    name, data_set : str
    task : Task
        What quantizes it.
    images : Path
        What judges it.
    """

    name: str
    data_set: str
    task: Task
    images: Path


def trained(data: Path, names: list[str] | None, images: int) -> Iterator[Trained]:
    """Those of a directory with these names (None: all), to be calibrated with so many images."""
    manifest = yaml.safe_load((data / "MANIFEST.yaml").read_text(encoding="utf-8"))
    for model in manifest["models"]:
        file, data_set = data / model["file"], model.get("data_set")
        if data_set in SETS and (names is None or file.stem in names):
            calibration, scored = (data / path for path in SETS[data_set])
            task = Task(file, file.with_suffix(".preprocess.yaml"), calibration, images)
            yield Trained(file.stem, data_set, task, scored)
