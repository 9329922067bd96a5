"""The compiler that links for a target: this machine's, or a cross compiler."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm.errors import UserError
from eq_tvm.targets import TargetSpec

if TYPE_CHECKING:
    import tvm

NDK = "ANDROID_NDK_HOME"  # environment variable: the directory of Android's NDK


def check(spec: TargetSpec) -> None:
    """Raise a `UserError` that says what to install where there is none."""
    from tvm.support import cc

    if not spec.is_cross:
        if cc.get_cc() is None:
            raise UserError("no C++ compiler to link with: install one (Debian package g++)")
    elif spec.cross_compiler is None:
        raise UserError(
            f"target {spec.name} is {spec.architecture}, this machine {platform.machine()}: it needs a cross_compiler"
        )
    elif command(spec):
        return
    elif spec.is_android:
        raise UserError(
            f"target {spec.name} needs {spec.cross_compiler} of Android's NDK: install that from "
            f"developer.android.com/ndk and set {NDK} to its directory"
        )
    else:
        package = f" (Debian package {spec.cross_package})" if spec.cross_package else ""
        raise UserError(f"target {spec.name} needs the cross compiler {spec.cross_compiler}: install it{package}")


def command(spec: TargetSpec) -> str:
    """Its name, or the file of one that is not in the PATH, as Android's; empty where there is none."""
    from tvm.support import cc

    if not spec.is_cross:
        return cc.get_cc() or ""
    name = spec.cross_compiler or ""
    if shutil.which(name):
        return name
    inside = Path(os.environ.get(NDK) or "/nonexistent").glob(f"toolchains/llvm/prebuilt/*/bin/{name or '-'}")
    return next((str(file) for file in inside if spec.is_android and os.access(file, os.X_OK)), "")


def export(executable: tvm.runtime.Executable, spec: TargetSpec, file: str) -> None:
    """Write what `tvm.compile` made as a shared object."""
    from tvm.support import cc

    # The triple is for networks without any kernel, which tell TVM of no target
    link = cc.cross_compiler(command(spec), get_target_triple=lambda: spec.triple) if spec.is_cross else None
    try:
        executable.export_library(file, fcompile=link)
    except RuntimeError as e:
        message, _, _ = str(e).partition("Command line:")  # with temporary paths
        _, marker, said = message.partition("Compilation error:")
        if not marker:
            raise
        raise UserError(f"linking for {spec.name} failed: {' '.join(said.split())}") from e
