"""A Python for aarch64 with what eq_tvm needs on a board, to run under qemu-user, without TVM's compiler.

Debian's packages for arm64 and PyPI's wheels, unpacked once into the user's cache folder. Nothing is installed, and
nothing needs root. Benchmarks run other engines in it, too.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import aarch64 as emulation

_GLIBC = ("_2_36", "_2_35", "_2_34", "_2_31", "_2_28", "_2_27", "_2_24", "2014", "_2_17")  # Debian 12 has 2.36
PACKAGES = ("python3", "libstdc++6", "zlib1g")
REPOSITORY = Path(__file__).resolve().parents[2]


def command(folder: Path) -> tuple[list[str], dict[str, str]]:
    """How to start that Python with eq_tvm: the command, and what the environment needs besides.

    Parameters
    ----------
    folder : Path
        An empty one, for what stands for the installed eq_tvm, and the command.

    Raises
    ------
    emulation.Unavailable
        qemu, or the means to get the packages, are missing.
    """
    home, python = installed()
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec qemu-aarch64 -cpu cortex-a72 -L {home}/root {python} "$@"\n')
    program.chmod(0o755)
    modules = link_eq_tvm(folder)
    # TVM starts further processes with sys.executable, which the kernel could not run.
    (modules / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(program)!r}\n")
    return [str(program)], {"PYTHONPATH": f"{modules}:{home}/site"}


def link_eq_tvm(folder: Path) -> Path:
    """Make the directory in a folder that Python finds eq_tvm in."""
    modules = folder / "modules"
    modules.mkdir()
    (modules / "eq_tvm").symlink_to(REPOSITORY / "eq_tvm")
    metadata = Path(importlib.metadata.distribution("eq-tvm")._path)
    (modules / "eq_tvm-0.dist-info").symlink_to(metadata)
    return modules


@functools.cache
def installed(*more: str) -> tuple[Path, Path]:
    """The folder with the system's files in ``root`` and the packages in ``site``, and the Python in it.

    Parameters
    ----------
    more : str
        Packages besides what eq_tvm needs, as pip takes them.
    """
    for tool, package in (("qemu-aarch64", "qemu-user"), ("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if not shutil.which(tool):
            raise emulation.Unavailable(f"{tool} is missing: apt-get install {package}")
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in ("apache-tvm", "apache-tvm-ffi")] + list(more)
    for requirement in importlib.metadata.requires("eq-tvm"):
        name = re.match(r"[\w-]+", requirement)[0]
        if not name.startswith("apache-tvm") and (";" not in requirement or 'extra == "rpc"' in requirement):
            wanted.append(requirement.partition(";")[0].strip())
    key = hashlib.sha256(repr((PACKAGES, sorted(wanted))).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eq_tvm" / "aarch64"
    home = cache / f"python-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "python-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes start at the same time
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                new = Path(temporary, "new")
                version = _unpack_debian(new / "root", Path(temporary, "apt"))
                _install_wheels(new / "site", version, wanted)
                new.rename(home)
    (python,) = home.glob("root/usr/bin/python3.[0-9]*")
    return home, python


def _unpack_debian(root: Path, state: Path) -> str:
    """Unpack Python and the libraries below it; return its version, such as 3.11."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    root.mkdir(parents=True)
    (state / "status").touch()  # nothing is installed there, so that all is downloaded
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{key}={value}" for key, value in options.items())]
    _do([*apt, "update"])
    _do([*apt, "install", "--download-only", "--no-install-recommends", *PACKAGES])
    for package in sorted(state.glob("cache/archives/*.deb")):
        _do(["dpkg-deb", "-x", str(package), str(root)])
    (python,) = root.glob("usr/bin/python3.[0-9]*")
    return python.name.removeprefix("python")


def _install_wheels(site: Path, version: str, packages: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(site)]
    pip += ["--only-binary=:all:", f"--python-version={version}", "--implementation=cp"]
    pip += [f"--abi={abi}" for abi in (f"cp{version.replace('.', '')}", "abi3", "none")]
    pip += [f"--platform=manylinux{glibc}_aarch64" for glibc in _GLIBC]
    _do([*pip, *packages])
    (site / "tvm" / "lib" / "libtvm_compiler.so").unlink()  # what a board runs must do without


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["failed"]
        raise emulation.Unavailable(f"{command[0]} can't get packages for aarch64: {lines[-1]}")
