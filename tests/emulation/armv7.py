"""Runs compiled 32-bit ARM kernels on this machine, under qemu-user.

There is no TVM for 32-bit ARM: kernels are linked with `armv7_runner.c`, which has the little that they call.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aarch64
import numpy as np
import tvm

from eq_tvm.targets import get_target

COMPILER = "arm-linux-gnueabihf-g++"
SYSTEM = "/usr/arm-linux-gnueabihf"
CPU = "cortex-a7"  # it faults on ARMv8's instructions
SOURCE = Path(__file__).with_name("armv7_runner.c")


def check() -> None:
    """Raise `aarch64.Unavailable` where qemu or the cross compiler is missing."""
    for tool, package in (("qemu-arm", "qemu-user"), (COMPILER, "g++-arm-linux-gnueabihf")):
        if not shutil.which(tool):
            raise aarch64.Unavailable(f"{tool} is missing: apt-get install {package}")


def target() -> tvm.target.Target:
    """The TVM target of a Cortex-A7."""
    return get_target("rpi2-32").tvm_target()


def run_prim_funcs(built: tvm.runtime.Module, calls: Sequence[tuple[str, Sequence[np.ndarray]]]) -> list[np.ndarray]:
    """The last argument of each call (function, arguments) of what `tvm.tirx.build` made, after the call."""
    request = io.BytesIO()
    for name, arguments in calls:
        request.write(f"{name} {len(arguments)}\n".encode())
        for array in arguments:
            aarch64.write_tensor(request, array)
    with tempfile.TemporaryDirectory() as folder:
        built.write_to_file(f"{folder}/kernels.o", "o")
        Path(folder, "calls.o").write_bytes(_runner())
        subprocess.run(
            [COMPILER, "calls.o", "kernels.o", "-rdynamic", "-lm", "-ldl", "-o", "runner"], cwd=folder, check=True
        )
        done = subprocess.run(
            ["qemu-arm", "-cpu", CPU, "-L", SYSTEM, f"{folder}/runner"], input=request.getvalue(), capture_output=True
        )
    if done.returncode:
        raise RuntimeError(f"the emulated process died (exit code {done.returncode}): {done.stderr.decode().strip()}")
    answer = io.BytesIO(done.stdout)
    return [aarch64.read_tensor(answer) for _ in calls]


@functools.cache
def _runner() -> bytes:
    """The object file of what calls the kernels."""
    headers = Path(importlib.util.find_spec("tvm_ffi").origin).parent
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                COMPILER,
                "-x",
                "c",
                "-std=gnu11",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                f"-I{headers}/include",
                f"-I{headers}/3rdparty/dlpack/include",
                "-c",
                SOURCE,
                "-o",
                "calls.o",
            ],
            cwd=folder,
            check=True,
        )
        return Path(folder, "calls.o").read_bytes()
