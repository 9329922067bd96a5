"""The directory with a standalone library:

lib<model>.so  the network, with eq_model_run and the other functions of the header
eq_model.h     the header
and what `eq_tvm.standalone.companion` lists, for each language and build system
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm.artifacts import directory, linker
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.errors import UserError
from eq_tvm.files.regular_file import read_text
from eq_tvm.standalone import companion
from eq_tvm.targets import TargetSpec

if TYPE_CHECKING:
    import tvm

HEADER = "eq_model.h"
C_FILES = ("model.c", "threads.c")


@dataclass(frozen=True)
class Standalone:
    """What was written.

    Attributes
    ----------
    path : Path
        The directory.
    library : Path
        The shared object.
    network : Bundle
        What was compiled, and for which target; its own `path` is None.
    workspace : int
        Bytes that a run on one thread uses of the workspace.
    """

    path: Path
    library: Path
    network: Bundle
    workspace: int


def check_destination(path: str | Path) -> Path:
    """The path, if a standalone library may be written there: see `eq_tvm.artifacts.directory.check_destination`."""
    return directory.check_destination(path, "standalone library", _foreign)


def write(mod: tvm.IRModule, network: Bundle, spec: TargetSpec, path: str | Path) -> Standalone:
    """Compile a lowered module and write it: complete in a temporary directory first, then renamed.

    Parameters
    ----------
    mod : tvm.IRModule
        From `eq_tvm.pipeline.lower`.
    network : Bundle
        Its description.
    spec : TargetSpec
    path : str or Path
        The directory to make. A standalone library there is replaced; anything else is left alone.

    Raises
    ------
    UserError
        The directory can't be written, or the C compiler fails.
    ValueError
        The network needs more than kernels on tensors of fixed shapes.
    """
    from eq_tvm.standalone import source
    from eq_tvm.standalone.kernels import compile_kernels
    from eq_tvm.standalone.program import straight_line

    path = check_destination(path).absolute()
    name = re.sub(r"[^\w.-]", "_", network.model, flags=re.ASCII)
    library = f"lib{name}.so"
    program = straight_line(mod)
    with directory.replacing(path, "standalone library") as new, tempfile.TemporaryDirectory() as scratch:
        build = Path(scratch)
        allocated = compile_kernels(program.functions, spec.tvm_target(), build / "kernels.o")
        layout = source.lay_out(program, allocated)
        (build / source.CONSTANTS).write_bytes(layout.constants)
        (build / "tables.h").write_text(source.tables(network, program, layout, allocated), encoding="utf-8")
        for file in (*C_FILES, "threads.h"):
            (build / file).write_bytes((source.HERE / file).read_bytes())
        (new / HEADER).write_text(
            source.header(network, _comment(network, layout.planned), spec.threads), encoding="utf-8"
        )
        for file, text in companion.texts(network, name).items():
            (new / file).write_text(text, encoding="utf-8")
        (build / HEADER).write_bytes((new / HEADER).read_bytes())
        _link(spec, build, new / library)
    return Standalone(path, path / library, network, layout.planned)


def _foreign(path: Path) -> str:
    """A name in a directory that makes it no standalone library, or a file of it that somebody changed.

    Once the example is built as its first lines say, there is a program, too, and what Python compiles as it imports.
    """
    names = sorted(file.name for file in path.iterdir())
    libraries = [name for name in names if name.startswith("lib") and name.endswith(".so")]
    known = (HEADER, *companion.NAMES, *companion.MADE_OF_THEM, *libraries[:1])
    if others := [name for name in names if name not in known]:
        return others[0]
    try:
        if not libraries or _COMPILED_BY not in read_text(path / HEADER):
            return HEADER
        changed = companion.changed(path)
    except (OSError, ValueError):
        return names[0]
    return f"a {changed} that was changed" if changed else ""


_COMPILED_BY = "Compiled by eq_tvm"


def _comment(network: Bundle, workspace: int) -> list[str]:
    """What a person wants to know who finds the header."""
    target, pixels = network.target, network.preprocess
    lines = [
        f"{network.model} ({network.scheme}) for {target['name']}: {target['description']}.",
        f"{_COMPILED_BY} {network.versions.get('eq-tvm', '')}, from an ONNX file with the SHA-256",
        network.model_sha256,
        "",
        *(f"Input  {info.name}: {info.dtype} {info.shape}" for info in network.inputs),
        *(f"Output {info.name}: {info.dtype} {info.shape}" for info in network.outputs),
    ]
    if pixels:
        lines += [
            f"An input is (pixel - mean) / std of an image with the channels {pixels.channels}, pixels from 0 to 255:",
            f"mean {pixels.mean}, std {pixels.std}" + (f", {pixels.sized}" if pixels.sized else ""),
            *([f"in the layout {pixels.layout}"] if pixels.layout else []),
        ]
    if not network.calibrated:
        lines += ["", "Its scales are from random images: good for measuring speed only."]
    return [*lines, "", f"A run on one thread uses {workspace} bytes of workspace."]


def _link(spec: TargetSpec, build: Path, library: Path) -> None:
    (build / "exports").write_text("{ global: eq_model_*; local: *; };\n")
    command = [
        linker.command(spec),
        "-shared",
        "-fPIC",
        "-O2",
        "-std=gnu11",
        "-fvisibility=hidden",
        "-pthread",
        *(word for file in C_FILES for word in ("-x", "c", file)),
        "-x",
        "none",
        "kernels.o",
        "-o",
        str(library),
        f"-Wl,-soname,{library.name}",
        "-Wl,--version-script=exports",
        "-Wl,--gc-sections",
        "-Wl,--strip-all",
        "-Wl,-z,defs",
        "-Wl,-z,noexecstack",
        *(_ANDROID if spec.is_android else _GNU),
    ]
    done = subprocess.run(command, cwd=build, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"linking for {spec.name} failed: {' '.join(done.stderr.split())[-500:]}")


# A C++ compiler would add its own libraries.
_GNU = ["-nodefaultlibs", "-Wl,--as-needed", "-lm", "-lpthread", "-lc", "-lgcc"]
# Threads are in its C library. Its newest devices have pages of 16 KiB.
_ANDROID = ["-Wl,-z,max-page-size=16384", "-Wl,--as-needed", "-lm"]
