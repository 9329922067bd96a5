"""What `run` shows of results where it is told what they mean: names of classes, boxes, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from eq_tvm.cli.inputs import ARRAYS
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, write_whole
from eq_tvm.inputs.image_files import read_image
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.tasks.labels import read_labels
from eq_tvm.tasks.seen import View


class Shown:
    """Says what the network has seen in one file after another, and draws it.

    Parameters
    ----------
    files : sequence of Path
        All that it runs on, in that order.
    draw : Path, optional
        Where to draw: with several files ``-1``, ``-2`` and so on is put before the ending.
    labels, task, above, top
        As the fields of `View`; `labels` as `read_labels` takes them.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        draw: Path | None,
        labels: str | None,
        task: str | None,
        above: float,
        top: int,
    ):
        names = None if labels is None else read_labels(labels)
        self._view = View(task, names, str(labels), above, top)
        self._images = [] if any(file.suffix.lower() in ARRAYS for file in files) else list(files)
        if draw is not None:
            _check(draw, files)
        self._draw, self._done = draw, 0

    def text(self, name: str, outputs: Mapping[str, np.ndarray], form: InputForm) -> str:
        """Of one run; the files are drawn as they come."""
        lines = [name]
        for k in range(form.count):
            of_one = {key: output[k : k + 1] for key, output in outputs.items()} if form.count > 1 else outputs
            image = read_image(self._images[self._done]) if self._images else None
            placement = None
            if form.layout is not None:
                placement = form.placement(np.zeros(form.item_shape) if image is None else image)
            seen = self._view.see(of_one, placement)
            self._done += 1
            lines += [f"  image {k + 1}"] * (form.count > 1) + [f"  {line}" for line in seen.lines]
            if self._draw is not None:
                assert image is not None
                path = _numbered(self._draw, self._done, len(self._images))
                _write(path, seen.drawn_on(image))
                lines.append(f"  drawn: {path}")
        return "\n".join(lines)


def _check(draw: Path, files: Sequence[Path]) -> None:
    if draw.suffix.lower() not in (endings := (".png", ".jpg", ".jpeg", ".webp")):
        raise UserError(f"--draw {draw}: its name must end with one of {', '.join(endings)}")
    if arrays := [file for file in files if file.suffix.lower() in ARRAYS]:
        raise UserError(f"--draw draws on images, but {arrays[0]} is none: pass image files")
    for i in range(len(files)):
        path = check_destination(_numbered(draw, i + 1, len(files)))
        if any(path.absolute() == file.absolute() for file in files):
            raise UserError(f"--draw {path} would replace an input")


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _write(path: Path, picture: Image.Image) -> None:
    with system_errors(f"write {path}"):
        kind = Image.registered_extensions()[path.suffix.lower()]
        write_whole(path, lambda file: picture.save(file, kind))
