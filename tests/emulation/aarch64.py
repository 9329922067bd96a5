"""Runs compiled aarch64 code on this machine, under qemu-user.

One emulated process (:class:`Machine`) serves many calls: `aarch64_runner.cc`, built with the cross compiler against
the libraries of the aarch64 wheels of apache-tvm and apache-tvm-ffi (same versions as installed here), which
pip downloads once into the user's cache folder. The process is an argument of the tests as the fixture `aarch64`.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tvm
from tvm.support import cc

from eq_tvm.targets import ARM_LLVM_OPTIONS

COMPILER = "aarch64-linux-gnu-g++"
SYSROOT = Path("/usr/aarch64-linux-gnu")
SOURCE = Path(__file__).with_name("aarch64_runner.cc")
LIBRARIES = {"apache-tvm": "tvm/lib/libtvm_runtime.so", "apache-tvm-ffi": "tvm_ffi/lib/libtvm_ffi.so"}


class Unavailable(Exception):
    """Something that running aarch64 code needs is missing; the message says what, and how to get it."""


def target(cpu: str = "cortex-a72", *attributes: str) -> tvm.target.Target:
    """The TVM target of an aarch64 Linux: `cpu` as LLVM names it, `attributes` like "+dotprod"."""
    attributes = ["+neon", *attributes]
    options = {"mtriple": "aarch64-linux-gnu", "mcpu": cpu, "mattr": attributes, "cl-opt": ARM_LLVM_OPTIONS}
    return tvm.target.Target({"kind": "llvm", **options})


def export(built, path: str | Path) -> Path:
    """Links what `tvm.compile` or `tvm.tirx.build` made for an aarch64 target into the shared object `path`."""
    built.export_library(str(path), fcompile=cc.cross_compiler(COMPILER))
    return Path(path)


class Machine:
    """An emulated aarch64 Linux process.

    Parameters
    ----------
    cpu : str
        As qemu names it: cortex-a53 and cortex-a72 fault on instructions that those cores lack (sdot),
        cortex-a76 has them, "max" has all that qemu knows.
    threads : int
        TVM's thread pool.
    timeout : float
        Seconds after which a call is given up.

    Raises
    ------
    Unavailable
        If qemu, the cross compiler or the wheels can't be had.
    """

    def __init__(self, cpu: str = "cortex-a72", threads: int = 1, timeout: float = 300):
        self._command = ["qemu-aarch64", "-cpu", cpu, "-L", str(SYSROOT), str(_runner())]
        self._environment = os.environ | {"TVM_NUM_THREADS": str(threads)}
        self._timeout = timeout
        self._process = None

    def run_prim_func(self, library: str | Path, name: str, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Calls the PrimFunc `name` of a shared object; returns all its arguments as they are after the call."""
        return self.run_prim_funcs([(library, name, arguments)])[0]

    def run_prim_funcs(self, jobs: Sequence[tuple[str | Path, str, Sequence[np.ndarray]]]) -> list[list[np.ndarray]]:
        """`run_prim_func` for each job (library, name, arguments)."""
        answers, loaded = [], None
        for library, name, arguments in jobs:
            if library != loaded:
                self._load(library)
            answers.append(self._ask(f"kernel {name} {len(arguments)}", arguments))
            loaded = library
        return answers

    def run_vm(self, library: str | Path, inputs: Sequence[np.ndarray], name: str = "main") -> list[np.ndarray]:
        """Calls function `name` of an exported Relax executable; tuples of results come back flat."""
        return self.run_vm_batch(library, [inputs], name)[0]

    def run_vm_batch(
        self, library: str | Path, feeds: Sequence[Sequence[np.ndarray]], name: str = "main"
    ) -> list[list[np.ndarray]]:
        """`run_vm` for each of `feeds`, loading the executable once."""
        self._load(library)
        return [self._ask(f"vm {name} {len(inputs)}", inputs) for inputs in feeds]

    def close(self) -> None:
        """Ends the process; the next call starts a new one."""
        if self._process:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.kill()
            self._process.wait()
            self._errors.close()
            self._process = None

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _load(self, library: str | Path) -> None:
        self._ask(f"load {Path(library).resolve(strict=True)}")

    def _ask(self, command: str, tensors: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
            self._process = subprocess.Popen(self._command, env=self._environment, **pipes)
        watchdog = threading.Timer(self._timeout, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(command.encode() + b"\n")
            for tensor in tensors:
                write_tensor(self._process.stdin, tensor)
            self._process.stdin.flush()
            status, _, rest = self._process.stdout.readline().decode().rstrip("\n").partition(" ")
            if status == "ok":
                return [read_tensor(self._process.stdout) for _ in range(int(rest))]
        except BrokenPipeError:
            status = ""
        finally:
            watchdog.cancel()
        if status == "error":
            raise RuntimeError(f"{command}: {rest}")
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        self.close()
        raise RuntimeError(f"{command}: the emulated process died (exit code {code}): {said}")


@functools.cache
def machine(cpu: str = "cortex-a72", threads: int = 1) -> Machine:
    """The one running :class:`Machine` of this kind, shared by all tests."""
    return Machine(cpu, threads)


def run_vm(library: str | Path, inputs: Sequence[np.ndarray], cpu: str = "cortex-a72") -> list[np.ndarray]:
    """See :meth:`Machine.run_vm`."""
    return machine(cpu).run_vm(library, inputs)


def run_prim_func(
    library: str | Path, name: str, arguments: Sequence[np.ndarray], cpu: str = "cortex-a72"
) -> list[np.ndarray]:
    """See :meth:`Machine.run_prim_func`."""
    return machine(cpu).run_prim_func(library, name, arguments)


def write_tensor(stream, array: np.ndarray) -> None:
    """A line with the dtype and shape, then the bytes."""
    stream.write(" ".join(map(str, (array.dtype, *array.shape))).encode() + b"\n")
    stream.write(np.ascontiguousarray(array).tobytes())


def read_tensor(stream) -> np.ndarray:
    """What `write_tensor` wrote."""
    dtype, *shape = stream.readline().split()
    shape, dtype = tuple(map(int, shape)), np.dtype(dtype.decode())
    return np.frombuffer(stream.read(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape).copy()


@functools.cache
def _runner() -> Path:
    """The runner's executable, built and cached on first use."""
    for tool, package in (("qemu-aarch64", "qemu-user"), (COMPILER, "g++-aarch64-linux-gnu")):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is missing: apt-get install {package}")
    versions = {package: importlib.metadata.version(package) for package in LIBRARIES}
    key = hashlib.sha256(SOURCE.read_bytes() + repr(versions).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eq_tvm" / "aarch64"
    folders = [root / f"{package}-{version}" for package, version in versions.items()]
    runner = root / f"runner-{key}"
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes start at the same time
        for package, folder in zip(versions, folders, strict=True):
            if not folder.exists():
                _fetch_library(package, versions[package], folder)
        if not runner.exists():
            _build(runner, folders)
    return runner


def _fetch_library(package: str, version: str, folder: Path) -> None:
    """Takes the run-time library out of a package's aarch64 wheel."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", temporary, "--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=none"]
        command += [f"--platform=manylinux{glibc}_aarch64" for glibc in ("_2_28", "_2_27", "_2_24", "2014", "_2_17")]
        done = subprocess.run([*command, f"{package}=={version}"], capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"no aarch64 wheel of {package} {version}: {done.stderr.strip().splitlines()[-1]}")
        (wheel,) = Path(temporary).glob("*.whl")
        library = Path(temporary, "unpacked", Path(LIBRARIES[package]).name)
        library.parent.mkdir()
        library.write_bytes(zipfile.ZipFile(wheel).read(LIBRARIES[package]))
        library.parent.rename(folder)


def _build(runner: Path, folders: Sequence[Path]) -> None:
    headers = Path(importlib.util.find_spec("tvm_ffi").origin).parent
    options = ["-std=c++17", "-O2", f"-I{headers}/include", f"-I{headers}/3rdparty/dlpack/include"]
    for folder in folders:
        options += [f"-L{folder}", f"-Wl,-rpath,{folder}"]
    options += ["-Wl,--no-as-needed", "-ltvm_runtime", "-ltvm_ffi", "-ldl"]
    temporary = runner.with_suffix(".tmp")
    subprocess.run([COMPILER, str(SOURCE), "-o", str(temporary), *options], check=True)
    temporary.rename(runner)
