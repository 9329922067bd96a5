"""Fixtures and settings that all tests share."""

from __future__ import annotations

import os
import platform
import signal
from pathlib import Path
from types import SimpleNamespace

import aarch64 as emulation
import aarch64_python
import armv7 as emulation_32
import hypothesis
import pytest
import tiles as emulated_tiles

pytest_plugins = ["boards_on_loopback"]
IN_CI = os.environ.get("CI", "") not in ("", "0", "false")

hypothesis.settings.register_profile("local", deadline=None, max_examples=25)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "local")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it in the background, where tests raise it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> SimpleNamespace:
    """Real networks and images: `path`, and `models`, a dict of each network's name and ONNX file."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("../shared/data (real networks and images) is not here")
    return SimpleNamespace(path=path, models={file.stem: file for file in sorted((path / "models").glob("*.onnx"))})


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small networks that failed once, with the right outputs."""
    path = Path(__file__).resolve().parents[2] / "shared" / "cases"
    if not path.is_dir():
        pytest.skip("../shared/cases (small networks with the right outputs) is not here")
    return path


@pytest.fixture(scope="session")
def aarch64() -> emulation.Machine:
    """An emulated Raspberry Pi 4 (Cortex-A72, one thread)."""
    return _machine("cortex-a72")


@pytest.fixture(scope="session")
def aarch64_dotprod() -> emulation.Machine:
    """An emulated Raspberry Pi 5 (Cortex-A76, one thread): has sdot and udot."""
    return _machine("cortex-a76")


@pytest.fixture(scope="session")
def aarch64_i8mm() -> emulation.Machine:
    """An emulated processor with all that qemu knows, such as smmla and usmmla (one thread)."""
    return _machine("max")


@pytest.fixture(scope="session")
def python_aarch64(tmp_path_factory) -> tuple[list[str], dict[str, str]]:
    """A Python with eq_tvm on an emulated Raspberry Pi 4: its command, and what it needs in the environment."""
    return _available(lambda: aarch64_python.command(tmp_path_factory.mktemp("aarch64")))


@pytest.fixture(scope="session")
def armv7() -> None:
    """For tests that run 32-bit ARM code."""
    _available(emulation_32.check)


@pytest.fixture(scope="session")
def tiles(tmp_path_factory) -> Path:
    """For tests that run AMX's instructions, which are emulated where the processor lacks them: what does that."""
    if platform.machine() != "x86_64":
        pytest.skip("AMX's instructions are emulated on x86 only")
    library = emulated_tiles.compiled(tmp_path_factory.mktemp("amx"))
    emulated_tiles.load(library)
    return library


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that are meant to take long may."""
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.timeout(0))


def _machine(cpu: str) -> emulation.Machine:
    return _available(lambda: emulation.machine(cpu))


def _available(get):
    try:
        return get()
    except emulation.Unavailable as reason:
        if IN_CI:
            pytest.fail(str(reason))  # there the tools are installed: a test that did not run would go unnoticed
        pytest.skip(str(reason))
