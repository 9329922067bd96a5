"""AMX on processors that lack it: `amx.c` as a library that this process, or another, loads."""

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

from eq_tvm.targets import TargetSpec, get_target

SOURCE = Path(__file__).with_name("amx.c")


def target() -> TargetSpec:
    """AMX beside AVX2, which most machines have."""
    x86 = get_target("x86")
    return replace(x86, attrs=["+amx-tile", "+amx-int8"], instructions={"tdpbusd-tile-256": 1024, **x86.instructions})


def compiled(folder: Path) -> Path:
    """The library."""
    library = folder / "libamx.so"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", "-O2", *warnings, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def load(library: Path) -> ctypes.CDLL:
    """Let this process emulate tile instructions from now on, where its processor does not know them."""
    return ctypes.CDLL(str(library))


def counted(loaded: ctypes.CDLL) -> int:
    """How many instructions it has emulated so far."""
    return ctypes.c_long.in_dll(loaded, "eq_tvm_emulated_tiles").value
