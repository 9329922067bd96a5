"""What the measurements were taken on."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

PACKAGES = ("eq-tvm", "apache-tvm", "openvino", "onnxruntime", "nncf", "ncnn", "ai-edge-litert", "MNN", "onnx", "numpy")


def describe() -> dict[str, object]:
    """Processor, cores, kernel and load, for the record."""
    return {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "vnni": "avx512_vnni" in cpu_flags(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
    }


def made_with() -> str:
    """Processor and versions, in a line."""
    return f"{cpu()}; {', '.join(f'{name} {version}' for name, version in versions().items())}"


def versions() -> dict[str, str]:
    """Of Python and of the packages that are there."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


@functools.cache
def cpu() -> str:
    """The processor's name."""
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return match[1].strip() if match else platform.processor()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The processor's features, in Linux's names."""
    match = re.search(r"^flags\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return frozenset(match[1].split() if match else ())


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    return 1024 * int(re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def onednn_isa(model: Path, environment: dict[str, str]) -> str | None:
    """What oneDNN, inside OpenVINO, says it uses under an environment. It says so while it compiles a network."""
    code = "import sys, openvino; openvino.Core().compile_model(sys.argv[1], 'CPU')"
    result = subprocess.run(
        [sys.executable, "-c", code, str(model)],
        env={**os.environ, **environment, "ONEDNN_VERBOSE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    match = re.search(r"info,cpu,isa:(.+)", result.stdout)
    return match[1].strip() if match else None


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text()
