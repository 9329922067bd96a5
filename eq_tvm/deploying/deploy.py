"""A bundle on a board, by ssh: copied with all that it needs, tried there, and only then put in its place."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from eq_tvm.artifacts.bundle import Bundle, TensorInfo
from eq_tvm.building.sha256 import sha256
from eq_tvm.deploying import board, on_board
from eq_tvm.deploying.pack import REQUIREMENTS, Packed, collect
from eq_tvm.deploying.ssh import Machine, machine
from eq_tvm.errors import UserError
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.inputs.random_inputs import random_inputs
from eq_tvm.running import sample

DIRECTORY = "eq_tvm"
COPYING, INSTALLING, RUNNING = 900, 1800, 600  # seconds that these may take
_OLD = 60  # minutes after which nobody works any more on what a lost connection left


@dataclass(frozen=True)
class Deployed:
    """What is there now.

    Attributes
    ----------
    machine : str
        As ssh calls it.
    architecture, python : str
    directory : str
        There, relative to the home directory unless it begins with ``/``.
    bundle : str
        Its name in the directory.
    equal : bool
        Whether it computes what this machine computed bit for bit; False: but for the rounding of floats.
    """

    machine: str
    architecture: str
    python: str
    directory: str
    bundle: str
    equal: bool


def deploy(
    bundle: str | Path,
    destination: str,
    *,
    port: int | None = None,
    directory: str = DIRECTORY,
    image: str | Path | None = None,
    progress: Callable[[float, str], None] = lambda done, message: None,
) -> Deployed:
    """Copy a bundle to a board, install there what it needs, and compare what it computes.

    Whatever fails, and wherever the board drops out, a bundle that was there before stays there, whole.

    Parameters
    ----------
    bundle : str or Path
    destination : str
        ``user@host``, or a name of ssh's configuration.
    port : int, optional
    directory : str
        There, relative to the home directory.
    image : str or Path, optional
        What it is tried on. By default the noise that the bundle remembers.
    progress : callable (float, str) -> None, optional

    Raises
    ------
    UserError
        In one line, what does not work, and the way out.
    """
    there, place = machine(destination, port), _checked(directory)
    packed = collect(bundle)
    arrays, expected = _expected(packed.bundle, image)
    progress(0.1, f"asking {there.name} what it is")
    found = board.check(there, packed.bundle.target)
    site = _Site(there, place, packed, secrets.token_hex(4))
    progress(0.15, f"copying to {there.name}")
    site.copy(arrays)
    try:
        progress(0.3, f"installing on {there.name}")
        site.install()
        progress(0.9, f"running on {there.name}")
        try:
            equal = sample.compare(expected, site, arrays)
        except UserError as e:
            raise UserError(f"{there.name} computes something else than this machine: {e}") from e
        site.place()
    except UserError:
        site.clean()
        raise
    return Deployed(there.name, found.machine, found.python, place, packed.name, equal)


class _Site:
    """The directory on the board, with what is new aside; `call` runs the new bundle there."""

    def __init__(self, there: Machine, directory: str, packed: Packed, token: str):
        self.there, self.packed = there, packed
        self.inputs: tuple[TensorInfo, ...] = packed.bundle.inputs
        self.outputs: tuple[TensorInfo, ...] = packed.bundle.outputs
        needed = {name: content for name, content in packed.files.items() if "/" not in name and name != "README.txt"}
        self.environment = f".venv-{hashlib.sha256(b''.join(needed.values())).hexdigest()[:12]}"
        self.new = f"{_NEW}{token}"
        self.enter = f"mkdir -p {shlex.quote(directory)} && cd {shlex.quote(directory)} || exit 1"
        self.python = f"{self.environment}/bin/python -m eq_tvm.deploying.on_board"
        self.name = shlex.quote(packed.name)

    def copy(self, arrays: list[np.ndarray]) -> None:
        """Everything, into a directory of its own; what earlier lost connections left goes."""
        content = io.BytesIO()
        np.savez(content, *arrays)
        files = {**self.packed.files, _INPUTS: content.getvalue()}
        self.there.run(
            f"""{self.enter}
            if [ -e {self.name} ] && [ ! -d {self.name} ]; then
                echo "error: "{self.name}" is a file there: remove it, or choose another --directory" >&2; exit 1
            fi
            find . -maxdepth 1 -name '{_NEW}*' -mmin +{_OLD} -exec rm -rf {{}} +
            mkdir {self.new} && tar -xzf - -C {self.new} || {{ rm -rf {self.new}; exit 1; }}""",
            doing="copying",
            seconds=COPYING,
            given=Packed(self.packed.bundle, self.packed.name, files).archive(),
        )

    def install(self) -> None:
        """An environment of its own for these versions, unless it is there; then ask for them."""
        printed = self.there.run(
            f"""{self.enter}
            if [ -e .venv ] && [ ! -L .venv ]; then
                echo "error: there is another .venv in it: choose another --directory" >&2; exit 1
            fi
            if [ ! -e {self.environment}/complete ]; then
                rm -rf {self.environment}
                python3 -m venv {self.environment} >&2 || exit 1
                (cd {self.new} && ../{self.environment}/bin/python -m pip install --quiet --no-input \\
                    --disable-pip-version-check -r {REQUIREMENTS} >&2) || {{ rm -rf {self.environment}; exit 1; }}
                touch {self.environment}/complete || exit 1
            fi
            {self.python} free {self.name} && {self.python} versions""",
            doing="installing",
            seconds=INSTALLING,
        )
        theirs, ours = json.loads(board.marked(printed).get("versions", "{}")), on_board.installed()
        if others := [name for name in ours if theirs.get(name) != ours[name]]:
            name = others[0]
            raise UserError(
                f"{self.there.name} has {name} {theirs.get(name, 'in no version')}, this machine {ours[name]}: remove "
                f"{self.environment} there, and deploy again"
            )

    def call(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """What the new bundle computes there, of the arrays that were copied with it."""
        content = self.there.run(
            f"""{self.enter}
            {self.python} run {self.new}/{self.name} {self.new}/{_INPUTS} {self.new}/{_OUTPUTS} >&2 &&
            echo && echo {_RESULTS} && cat {self.new}/{_OUTPUTS}""",
            doing="running",
            seconds=RUNNING,
        )
        _, _, results = content.partition(f"\n{_RESULTS}\n".encode())
        try:
            with np.load(io.BytesIO(results)) as given:
                return [given[f"arr_{index}"] for index in range(len(self.outputs))]
        except (OSError, ValueError, KeyError, EOFError) as e:
            raise UserError(f"{self.there.name} sent no results") from e

    def place(self) -> None:
        """The new bundle in its place, the new environment as .venv; what was there before them goes."""
        self.there.run(
            f"""{self.enter}
            {self.python} place {self.new}/{self.name} {self.name} || exit 1
            ln -sfn {self.environment} {self.new}/link && mv -fT {self.new}/link .venv || exit 1
            for old in .venv-*; do [ "$old" = {self.environment} ] || rm -rf "$old"; done
            rm -rf {self.new}""",
            doing="putting the bundle in its place",
            seconds=COPYING,
        )

    def clean(self) -> None:
        """Remove what is aside, if the board still answers."""
        with suppress(UserError):  # the next one does it
            self.there.run(f"{self.enter}\nrm -rf {self.new}", doing="cleaning up", seconds=_CLEANING)


_NEW, _INPUTS, _OUTPUTS, _RESULTS, _CLEANING = ".new-", "inputs.npz", "outputs.npz", "eq_tvm:results", 20


def _checked(directory: str) -> str:
    if not directory or directory.startswith(("-", "~")) or not directory.isprintable():
        raise UserError(f"--directory {directory!r}: pass a path such as {DIRECTORY}, relative to the home directory")
    return str(PurePosixPath(directory))


def _expected(bundle: Bundle, image: str | Path | None) -> tuple[list[np.ndarray], dict[str, object]]:
    """Inputs, and what comes of them, as `sample.remember` describes it."""
    from eq_tvm.running.here import model_here

    arrays = random_inputs(bundle.inputs) if image is None else _of_image(bundle, Path(image))
    if image is None and bundle.sample is not None and sha256(*arrays) == bundle.sample["inputs"]:
        return arrays, bundle.sample
    here = model_here(bundle)
    if here is None:
        raise UserError(
            f"the bundle {bundle.path} can't be run here, and remembers no result to compare with: compile it again"
        )
    return arrays, sample.remember(here[0], arrays)


def _of_image(bundle: Bundle, image: Path) -> list[np.ndarray]:
    from eq_tvm.inputs.image_files import read_image

    if len(bundle.inputs) != 1 or not (form := InputForm(bundle.inputs[0], bundle.preprocess)).layout:
        raise UserError(f"--image {image}: the network does not take one image; leave --image out")
    item = form.item(read_image(image), str(image))
    return [np.ascontiguousarray(form.joined([item] * form.count))]
