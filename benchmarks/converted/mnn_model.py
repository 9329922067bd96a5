"""A float network as MNN reads it, by the converter in its wheel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def convert(model: Path, path: Path, command: Path) -> None:
    """Write an ONNX network as MNN's file.

    Parameters
    ----------
    model, path : Path
    command : Path
        mnnconvert, of an environment of its own: when it is run, it installs packages, older ones of some.

    Raises
    ------
    RuntimeError
        There is no converter, or it failed.
    """
    if not command.is_file():
        raise RuntimeError(f"{command} is missing: benchmarks/README.md says how to install it")
    options = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(path), "--bizCode", "benchmark"]
    path_first = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}"}  # it takes the first pip
    done = subprocess.run([command, *options], env=path_first, capture_output=True, text=True)
    if not path.is_file():
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"ended with code {done.returncode}"]
        raise RuntimeError(f"mnnconvert: {lines[-1]}")
