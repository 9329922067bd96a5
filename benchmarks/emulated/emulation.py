"""Counts what an engine executes per inference, in a Python for aarch64 that qemu emulates."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from emulated import arm_cpus
from emulated.arm_cpus import Cpu
from peers.cache import cached, key_of
from peers.engines import Engine, how
from peers.worker import THREAD_VARIABLES

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "emulation"))

import aarch64_python
from aarch64 import Unavailable

HERE = Path(__file__).resolve().parent
# Their wheels for aarch64 have the versions that are installed here.
PEERS = ("onnxruntime", "ncnn", "openvino", "ai-edge-litert", "MNN")
PLUGIN, CACHES = HERE / "blockcount.c", HERE / "caches.c"


class EmulationError(Exception):
    """An engine failed, or something is missing; the message is one line."""


@dataclass(frozen=True)
class Counts:
    """What `counted.py` and a plugin wrote.

    Attributes
    ----------
    blocks : Path
        The plugin: how often each block of instructions ran.
    maps : Path
        Which file is mapped where, as in /proc/self/maps.
    inferences : int
        How many ran.
    """

    blocks: Path
    maps: Path
    inferences: int


class Emulation:
    """Emulated processors, with their files in a work directory."""

    def __init__(self, work: Path):
        self._folder = work / "emulation"
        self._folder.mkdir(parents=True, exist_ok=True)

    def count(self, engine: Engine, model: Path, cpu: Cpu, inferences: int) -> Counts:
        """Run what `models.prepare` made on an emulated processor, unless that was done before.

        Raises
        ------
        EmulationError
        """
        return self._watched(PLUGIN, "", engine, model, cpu, inferences)

    def lines(self, engine: Engine, model: Path, cpu: Cpu, inferences: int) -> list[tuple[int, int]]:
        """Lines of 64 bytes that came from behind each of a processor's caches, and how many of them were foreseen.

        Raises
        ------
        EmulationError
        """
        caches = "/".join(f"{cache.kib}:{cache.ways}" for cache in cpu.caches)
        return read_lines(self._watched(CACHES, f"caches={caches},", engine, model, cpu, inferences).blocks)

    def _watched(self, source: Path, options: str, engine: Engine, model: Path, cpu: Cpu, inferences: int) -> Counts:
        folder = self._folder / "-".join([model.stem, engine.name, cpu.name, *["lines"] * bool(options)])
        counts = Counts(folder / "blocks", folder / "maps", inferences)
        made = model.with_name(f"{model.name}.key").read_text()
        given = (engine.name, how(engine), cpu.qemu, arm_cpus.files(cpu), *filter(None, [options]))
        key = key_of(made, *given, inferences, _packages(), files=[source, HERE / "counted.py"])
        watched = f"{plugin(self._folder, source)},{options}out="
        cached(folder, key, lambda: self._run(engine, model, cpu, watched, counts))
        return counts

    def _run(self, engine: Engine, model: Path, cpu: Cpu, watched: str, counts: Counts) -> None:
        home, python = _python()
        with tempfile.TemporaryDirectory(dir=self._folder) as temporary:
            system = arm_cpus.write_system(cpu, home / "root", Path(temporary, "system"))
            modules = aarch64_python.link_eq_tvm(Path(temporary))
            made = Path(temporary, "counts")
            made.mkdir()
            command = ["qemu-aarch64", "-cpu", cpu.qemu, "-L", str(system)]
            command += ["-plugin", f"{watched}{made / counts.blocks.name}", str(python)]
            command += [str(HERE / "counted.py"), engine.name, str(model.resolve()), str(counts.inferences)]
            environment = {"PYTHONPATH": f"{modules}:{home}/site:{HERE.parent}", "TVM_USE_RUNTIME_LIB": "1"}
            environment |= dict.fromkeys(THREAD_VARIABLES, "1")
            done = subprocess.run(
                [*command, str(made / counts.maps.name)], env=os.environ | environment, capture_output=True, text=True
            )
            if done.returncode or not (made / counts.blocks.name).exists():
                lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
                raise EmulationError(lines[-1])
            made.rename(counts.blocks.parent)


def read_lines(path: Path) -> list[tuple[int, int]]:
    """What the plugin `caches.c` wrote."""
    rows = (line.split() for line in path.read_text().splitlines())
    return [(int(came), int(foreseen)) for came, foreseen in rows]


def plugin(folder: Path, source: Path = PLUGIN) -> Path:
    """A plugin for qemu, compiled into a folder unless it is there.

    Raises
    ------
    EmulationError
    """
    if shutil.which("gcc") is None:
        raise EmulationError("gcc is missing: apt-get install gcc")
    library = folder / f"{source.stem}.so"
    command = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", str(source), "-o", str(library)]
    return cached(library, key_of(files=[source]), lambda: subprocess.run(command, check=True))


@functools.cache
def _python() -> tuple[Path, Path]:
    try:
        return aarch64_python.installed(*_packages())
    except Unavailable as e:
        raise EmulationError(str(e)) from e


def _packages() -> list[str]:
    """Those that are installed here: what is not is not counted."""
    found = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    present = [package for package in PEERS if package.lower() in found]
    return [f"{package}=={importlib.metadata.version(package)}" for package in present]
