"""Builds and runs C programs with standalone libraries, as their users do: natively, or under qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tvm

from eq_tvm import pipeline, standalone
from eq_tvm.artifacts import linker
from eq_tvm.artifacts.bundle import Bundle, TensorInfo
from eq_tvm.standalone import Standalone
from eq_tvm.targets import TargetSpec, get_target

# Architecture -> qemu, and what the cross compiler brings of a system.
EMULATED = {
    "aarch64": ("qemu-aarch64", "/usr/aarch64-linux-gnu"),
    "armv7l": ("qemu-arm", "/usr/arm-linux-gnueabihf"),
}


def write(annotated: tvm.IRModule, target: str | TargetSpec, path: Path, optimize: str = "speed") -> Standalone:
    """An annotated module's library."""
    main, spec = annotated["main"], get_target(target) if isinstance(target, str) else target
    module, kernels = pipeline.lower(annotated, spec, optimize=optimize)
    results = main.ret_ty.fields if isinstance(main.ret_ty, tvm.ir.TupleType) else [main.ret_ty]
    inputs, outputs = (
        tuple(TensorInfo(f"{kind}{i}", tuple(map(int, ty.shape)), str(ty.dtype)) for i, ty in enumerate(types))
        for kind, types in (("in", [param.ty for param in main.params]), ("out", results))
    )
    described = asdict(spec) | {"architecture": spec.architecture}
    network = Bundle("network", "", inputs, outputs, None, "int7", None, described, {}, kernels)
    return standalone.write(module, network, spec, path)


def run(
    standalone: Standalone,
    spec: TargetSpec,
    inputs: Sequence[np.ndarray],
    *,
    threads: int = 1,
    cpu: str | None = None,
    preload: Path | None = None,
) -> tuple[list[np.ndarray], str]:
    """Run a library's own example program on arrays.

    Parameters
    ----------
    standalone : Standalone
    spec : TargetSpec
        What it was compiled for.
    inputs : sequence of np.ndarray
    threads : int
    cpu : str, optional
        The processor, as qemu calls it; only for other architectures than this machine's.
    preload : Path, optional
        A library that the program loads first.

    Returns
    -------
    outputs : list of np.ndarray
    printed : str
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{index}.raw") for index in range(len(inputs) + 1)]
        for file, array in zip(files, inputs, strict=False):
            array.tofile(file)
        command = [*emulator(spec, cpu), str(build(standalone, spec)), *map(str, files)]
        printed = subprocess.run(
            command,
            env=os.environ | {"THREADS": str(threads)} | ({"LD_PRELOAD": str(preload)} if preload else {}),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        content, outputs = files[-1].read_bytes(), []
    for info in standalone.network.outputs:
        array = np.frombuffer(content, info.dtype, int(np.prod(info.shape))).reshape(info.shape)
        content = content[array.nbytes :]
        outputs.append(array)
    assert not content
    return outputs, printed


def build(standalone: Standalone, spec: TargetSpec) -> Path:
    """The example program, beside its library."""
    program = standalone.path / "main"
    if not program.exists():
        name = standalone.library.stem.removeprefix("lib")
        subprocess.run(
            [
                linker.command(spec),
                "-x",
                "c",
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pedantic",
                standalone.path / "main.c",
                "-x",
                "none",
                f"-L{standalone.path}",
                f"-l{name}",
                "-Wl,-rpath,$ORIGIN",
                "-o",
                program,
            ],
            check=True,
        )
    return program


def emulator(spec: TargetSpec, cpu: str | None) -> list[str]:
    """What runs programs of a target here; skips the test where that is missing."""
    if not spec.is_cross:
        return []
    qemu, system = EMULATED[spec.architecture]
    if not shutil.which(qemu) or not shutil.which(spec.cross_compiler):
        pytest.skip(f"{qemu} or {spec.cross_compiler} is not here")
    return [qemu, *(["-cpu", cpu] if cpu else []), "-L", system]
