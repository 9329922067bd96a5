"""What a PC and a board must agree on: the names of the functions that the PC calls, and the versions of packages."""

from __future__ import annotations

import importlib.metadata

DESCRIBE = "eq_tvm.board.describe"
TIME_LAYERS = "eq_tvm.board.time_layers"
TIME_KERNEL = "eq_tvm.board.time_kernel"
KERNEL_SECONDS = 20.0  # that a board lets a kernel take


def versions() -> dict[str, str]:
    """Of the packages that must be the same on the board and on the PC."""
    return {package: importlib.metadata.version(package) for package in ("apache-tvm", "apache-tvm-ffi")}
