"""What a bundle was made with: packages, LLVM and the linker, as its list of materials has them."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess

from eq_tvm.artifacts import linker
from eq_tvm.targets import TargetSpec

_PACKAGES = ("eq-tvm", "apache-tvm", "apache-tvm-ffi", "numpy", "onnx", "pillow", "protobuf", "pyyaml")


def versions(spec: TargetSpec) -> dict[str, str]:
    """Of each, by its name."""
    from tvm.target import codegen

    done = subprocess.run([linker.command(spec), "--version"], capture_output=True, text=True)
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "llvm": str(codegen.llvm_version_major()),
        "linker": next(iter(done.stdout.splitlines()), "unknown"),
    }
