"""Whether this machine has what eq_tvm needs, and what to do where it has not."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from eq_tvm import host
from eq_tvm.errors import counted, reason
from eq_tvm.files.leftovers import PREFIX
from eq_tvm.targets import TargetSpec, load_targets

KNOWN_VARIABLES = ("EQ_TVM_DEBUG", "EQ_TVM_MEMORY")
OPTIONAL = {  # package -> what it is for
    "onnxruntime": "runs float networks faster, and checks imported ones",
    "torch": "networks of PyTorch",
    "onnxscript": "networks of PyTorch",
}
QEMU = {"qemu-aarch64": "64-bit", "qemu-arm": "32-bit"}
LEAST_MEMORY = 1.0  # GB: a small network takes less
LEAST_DISK = 0.5  # GB
SECONDS = 20.0  # that TVM may take to be loaded: on a cold disk some


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    ok : bool
    found : str
        What is there.
    todo : str
        What to do; empty where nothing needs to be done.
    needed : bool
        Whether compiling for this machine needs it.
    """

    name: str
    ok: bool
    found: str
    todo: str = ""
    needed: bool = False


def examine() -> Iterator[Check]:
    """Look at one thing after another; nothing that is missing or broken stops that.

    Yields
    ------
    Check
        Compiling for this machine works where all that are `needed` are `ok`.
    """
    loading = _load_tvm()
    yield _python()
    if not (pins := _pins()):
        yield Check("eq-tvm", False, "not installed as a package: versions are not compared", "pip install .")
    yield from (_package(name, *pin) for name, pin in pins.items())
    yield from (_optional(name, what) for name, what in OPTIONAL.items() if name not in pins)
    targets = load_targets()
    yield _compiler()
    yield from _cross_compilers(targets)
    yield _emulators()
    yield _processor(targets["native"])
    yield _memory()
    yield _place("temporary", _temporary(), "set TMPDIR to a directory that can be written", needed=True)
    yield _place("cache", _tuning_file().parent, "--tune needs it: set XDG_CACHE_HOME, or pass --tuning-file FILE")
    yield _tuning(_tuning_file())
    yield _variables()
    yield _tvm(loading)


_LOAD = """\
import sys
sys.modules["torch"] = None
import tvm
from tvm.target import codegen
print(codegen.llvm_version_major())"""


def _load_tvm() -> subprocess.Popen[str]:
    """TVM in a process of its own, for it may crash; meanwhile the rest is looked at."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _LOAD], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


def _tvm(loading: subprocess.Popen[str]) -> Check:
    try:
        out, err = loading.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        loading.kill()
        loading.communicate()
        return Check("tvm", False, f"not loaded after {SECONDS:.0f} s", "try again when less runs here", True)
    if os.environ.get("TVM_USE_RUNTIME_LIB") == "1":
        return Check("tvm", False, "loaded without its compiler", "unset TVM_USE_RUNTIME_LIB", True)
    if loading.returncode == 0 and out.strip():
        return Check("tvm", True, f"loads, with LLVM {out.strip()}", needed=True)
    last = next(iter(reversed(err.strip().splitlines())), f"exit code {loading.returncode}")
    return Check("tvm", False, f"does not load: {last.strip()}", f"pip install {' '.join(_pair())}", True)


def _python() -> Check:
    return Check("python", sys.version_info >= (3, 10), platform.python_version(), needed=True)


def _pins() -> dict[str, tuple[str, str]]:
    """What eq_tvm requires as installed: package -> (``==`` or ``>=``, version)."""
    try:
        lines = metadata.requires("eq-tvm") or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.fullmatch(r"([\w-]+)(==|>=)([\w.]+)", line) for line in lines)
    return {match[1]: (match[2], match[3]) for match in found if match}


def _pair() -> list[str]:
    """TVM and its ffi, which only fit together in certain versions, as pip takes them."""
    return [f"{name}=={version}" for name, (rule, version) in _pins().items() if rule == "=="] or ["."]


def _package(name: str, rule: str, wanted: str) -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install '{name}{rule}{wanted}'", True)
    fits = version == wanted if rule == "==" else _numbers(version) >= _numbers(wanted)
    todo = "" if fits else f"pip install {' '.join(map(repr, _pair() if rule == '==' else [name + rule + wanted]))}"
    return Check(
        name, fits, version if fits else f"{version}, which does not fit: {rule}{wanted} is needed", todo, True
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _optional(name: str, what: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, f"not installed (optional: {what})", f"pip install {name}")


def _compiler() -> Check:
    """The choice of `tvm.support.cc.get_cc`, which can't be asked where TVM does not load."""
    name = os.environ.get("CXX") or os.environ.get("CC")
    names = [name] if name else ["g++", "gcc", "clang++", "clang", "c++", "cc"]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None and name:
        return Check("c++", False, f"CXX or CC is {name}, which is not there", "unset it, or install that", True)
    todo = "" if path else "apt-get install g++"
    return Check("c++", path is not None, path or "no C++ compiler to link with", todo, True)


def _cross_compilers(targets: Mapping[str, TargetSpec]) -> Iterator[Check]:
    """One line for all targets that can be compiled for, and one for each compiler that is missing."""
    there: list[str] = []
    missing: dict[str, list[str]] = {}
    for name, spec in targets.items():
        if spec.is_cross and not shutil.which(spec.cross_compiler or ""):
            missing.setdefault(spec.cross_package or "", []).append(name)
        else:
            there.append(name)
    yield Check("targets", True, ", ".join(there))
    for package, names in missing.items():
        todo = f"apt-get install {package}" if package else "name a cross_compiler in the targets file"
        yield Check("targets", False, f"no cross compiler for {', '.join(names)}", todo)


def _emulators() -> Check:
    there = [name for name in QEMU if shutil.which(name) or shutil.which(f"{name}-static")]
    if len(there) == len(QEMU):
        return Check("qemu", True, ", ".join(there))
    missing = ", ".join(what for name, what in QEMU.items() if name not in there)
    return Check("qemu", False, f"none for {missing} ARM (only the tests run that here)", "apt-get install qemu-user")


def _processor(native: TargetSpec) -> Check:
    features = ", ".join(sorted(host.cpu_features() or ())) or "features unknown"
    if not native.instructions:
        todo = f"compile for another machine with --target: x86 needs AVX2, this is {platform.machine()}"
        return Check("processor", False, f"{host.model_name()}: no kernels for it ({features})", todo, True)
    said = f"{host.model_name()}: {features}; kernels of {', '.join(native.instructions)}"
    return Check("processor", True, said, needed=True)


def _memory() -> Check:
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    may = "" if limit == resource.RLIM_INFINITY else f"; a command may take {limit / 2**30:.1f} GB (EQ_TVM_MEMORY)"
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        text = ""
    if not (match := re.search(r"^MemAvailable: +(\d+) kB", text, re.M)):
        return Check("memory", True, f"unknown{may}")
    free = int(match[1]) / 2**20
    todo = "" if free >= LEAST_MEMORY else "end other programs: large networks need more"
    return Check("memory", not todo, f"{free:.1f} GB free{may}", todo)


def _temporary() -> Path | None:
    """Where a command would make the directory for its temporary files, if it is not there itself."""
    try:
        path = Path(tempfile.gettempdir())
    except OSError:
        return None
    return path.parent if path.name.startswith(PREFIX) else path


def _place(name: str, path: Path | None, todo: str, needed: bool = False) -> Check:
    """Whether there is room to write in a directory, or where it would be made."""
    if path is None:
        return Check(name, False, "no directory can be written", todo, needed)
    there = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(name, False, f"{path} can't be written", todo, needed)
    try:
        free = shutil.disk_usage(there).free / 2**30
    except OSError as e:
        return Check(name, False, f"{path}: {reason(e)}", todo, needed)
    full = f"only {free:.2f} GB are free in {path}"
    return Check(name, True, f"{path}, {free:.1f} GB free") if free >= LEAST_DISK else Check(name, False, full, todo)


def _tuning_file() -> Path:
    from eq_tvm.building.tuning import default_file

    return default_file() or Path("/nonexistent/tuning.json")  # where the user has no home


def _tuning(file: Path) -> Check:
    try:
        entries = sum(map(len, json.loads(file.read_text(encoding="utf-8")).values()))
    except FileNotFoundError:
        return Check("tuning file", True, f"none yet: compile --tune writes {file}")
    except OSError as e:
        return Check("tuning file", False, f"can't read {file}: {reason(e)}", "mend its permissions")
    except (ValueError, AttributeError, TypeError):
        return Check("tuning file", False, f"{file} is not what --tune writes", "remove it")
    return Check("tuning file", True, f"{file}, {counted(entries, 'layer')} measured")


def _variables() -> Check:
    given = {name: value for name, value in sorted(os.environ.items()) if name.startswith("EQ_TVM_")}
    said = ", ".join(f"{name}={value}" for name, value in given.items()) or "no EQ_TVM_* is set"
    if unknown := [name for name in given if name not in KNOWN_VARIABLES]:
        return Check("variables", False, said, f"{unknown[0]} means nothing; there are {', '.join(KNOWN_VARIABLES)}")
    return Check("variables", True, said)
