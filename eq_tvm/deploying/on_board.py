"""What runs on the board, by its own eq_tvm: ``python -m eq_tvm.deploying.on_board COMMAND ...``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from eq_tvm.errors import UserError, reason

PACKAGES = ("eq-tvm", "apache-tvm", "apache-tvm-ffi")  # whose versions must be the same on both machines
MARK = "eq_tvm:"  # begins the lines that are meant for the other machine: a shell may greet before them


def versions() -> None:
    """Print those of the packages that matter, having loaded what runs bundles."""
    import eq_tvm.running.runtime  # noqa: F401 (fails here where it can't work)

    print(MARK + "versions=" + json.dumps(installed()))


def installed() -> dict[str, str]:
    """The version of each package that must be the same on both machines."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def run(bundle: str, inputs: str, outputs: str) -> None:
    """Run a bundle on the arrays of an .npz, in their order, and write what it gives to another."""
    import numpy as np

    from eq_tvm.running.runtime import load

    with np.load(inputs) as given:
        arrays = [given[f"arr_{index}"] for index in range(len(given.files))]
    np.savez(outputs, *load(bundle).call(arrays))


def place(new: str, bundle: str) -> None:
    """Put a bundle in the place of another: at any time there is one of the two, whole."""
    from eq_tvm.artifacts import bundle as bundles
    from eq_tvm.artifacts import directory

    bundles.read(new)
    path = bundles.check_destination(bundle).absolute()
    with directory.replacing(path, "bundle") as folder:
        for file in Path(new).iterdir():
            shutil.copyfile(file, folder / file.name)


def free(bundle: str) -> None:
    """Fail where something is that is no bundle, before anything is done for it."""
    from eq_tvm.artifacts import bundle as bundles

    bundles.check_destination(bundle)


COMMANDS: dict[str, Callable[..., None]] = {"versions": versions, "run": run, "place": place, "free": free}


def main(arguments: list[str]) -> int:
    """The exit code: 2 for what the person at the other machine is told in one line."""
    os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")
    command, *rest = arguments
    try:
        COMMANDS[command](*rest)
    except (UserError, OSError, ImportError, RuntimeError) as e:
        print("error:", reason(e).replace("--output", "--directory"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
