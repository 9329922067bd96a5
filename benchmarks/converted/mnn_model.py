"""A float network as MNN reads it, by the converter in its wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def convert(model: Path, path: Path) -> None:
    """Write an ONNX network as MNN's file.

    Raises
    ------
    RuntimeError
        There is no converter, or it failed.
    """
    command = shutil.which("mnnconvert", path=str(Path(sys.executable).parent)) or shutil.which("mnnconvert")
    if command is None:
        raise RuntimeError("mnnconvert is missing: pip install MNN")
    options = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(path), "--bizCode", "benchmark"]
    done = subprocess.run([command, *options], capture_output=True, text=True)
    if not path.is_file():
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"ended with code {done.returncode}"]
        raise RuntimeError(f"mnnconvert: {lines[-1]}")
