"""Compiled code stays inside of its buffers: guard pages around them, sanitizers, and valgrind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from c_programs import build, emulator, run
from generated import NETWORKS, write

import eq_tvm
from eq_tvm import host
from eq_tvm.artifacts import linker
from eq_tvm.standalone import library
from eq_tvm.targets import get_target

EMULATION = Path(__file__).parents[1] / "emulation"
USUAL = {("unet", "int7", "x86"), ("mobilenet_v3", "int8", "x86")}
BOARDS = {"rpi3": "cortex-a53", "rpi4": "cortex-a72", "rpi5": "cortex-a76", "arm-i8mm": "max", "rpi4-32": "max"}


@pytest.mark.parametrize(
    ("name", "scheme", "target"),
    [
        pytest.param(*case, marks=[pytest.mark.exhaustive] * (case not in USUAL))
        for case in (
            (name, scheme, target)
            for name in NETWORKS
            for scheme in ("int7", "int8", "w8a12", "float32")
            for target in ("x86", "x86-vnni")
        )
    ],
)
def test_kernels_stay_inside(name, scheme, target, tmp_path):
    """All arguments, weights included."""
    _check_kernels(write(name, tmp_path / f"{name}.onnx"), scheme, target)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scheme", ["int7", "int8", "w8a12"])
@pytest.mark.parametrize("name", ["resnet20_cifar10", "mobilenetv2_tiny_cifar10", "squeezenet1_1", "ultraface_rfb_320"])
def test_kernels_of_trained_networks_stay_inside(name, scheme, shared_data):
    _check_kernels(shared_data.models[name], scheme, "x86")


def _check_kernels(model, scheme, target):
    missing = host.missing_features(get_target(target).instructions)
    if host.platform.machine() != "x86_64" or missing:
        pytest.skip("not this processor's")
    done = subprocess.run(
        [sys.executable, EMULATION / "guarded.py", model, scheme, target],
        env=os.environ | {"TVM_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.endswith("kernels\n"), done.stderr[-2000:]


@pytest.mark.parametrize(("place", "offset"), [("at_the_end", 64), ("at_the_start", -1)])
def test_guards_would_notice(place, offset):
    script = (
        f"import sys; sys.path.append({str(EMULATION)!r})\n"
        f"import ctypes, eq_tvm.importer, guarded\nmemory = guarded.{place}(64)\n"
        f"print('before', flush=True); ctypes.string_at(memory.ctypes.data + {offset}, 1); print('after')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "before\n" and done.returncode < 0


def _standalone(name, scheme, target, folder):
    """A library, an input and the output that its own example program gives."""
    options = {} if scheme == "float32" else {"calibration": "random", "images": 2}
    model = write(name, folder / f"{name}.onnx")
    written = eq_tvm.compile(
        model, scheme=scheme, target=target, artifact="standalone", verify=False, output=folder / "library", **options
    )
    return written, np.random.default_rng(0).standard_normal(NETWORKS[name][0], "float32")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(*case, marks=[pytest.mark.exhaustive] * (case not in {("unet", "x86"), ("espcn", "rpi4-32")}))
        for case in ((name, target) for name in NETWORKS for target in ("x86", *BOARDS))
    ],
)
def test_standalone_libraries_stay_inside(name, target, tmp_path):
    spec, cpu = get_target(target), BOARDS.get(target)
    prefix = emulator(spec, cpu)
    written, x = _standalone(name, "int7", target, tmp_path)
    x.tofile(tmp_path / "x.raw")
    expected = np.concatenate([output.ravel().view("uint8") for output in run(written, spec, [x], cpu=cpu)[0]])
    program = tmp_path / "guarded"
    options = ["-x", "c", EMULATION / "guarded.c", "-x", "none", f"-I{written.path}", written.library]
    subprocess.run([linker.command(spec), *options, f"-Wl,-rpath,{written.path}", "-o", program], check=True)
    for place in ("end", "start", "aligned"):
        for threads in ("1", "3"):
            subprocess.run([*prefix, program, place, threads, tmp_path / "x.raw", tmp_path / "y.raw"], check=True)
            np.testing.assert_array_equal(np.fromfile(tmp_path / "y.raw", "uint8"), expected)


def test_sanitizers_find_nothing(tmp_path, monkeypatch):
    """In the C code, with the example program; kernels have no checks in them."""
    sanitizers = "-fsanitize=address,undefined"
    flags = [sanitizers, "-fno-sanitize-recover=all", "-g"]
    link = subprocess.run

    def with_sanitizers(command, **options):
        checked = [part for part in command if part not in ("-nodefaultlibs", "-Wl,-z,defs")]
        return link([*checked, *flags], **options)

    monkeypatch.setattr(library.subprocess, "run", with_sanitizers)
    written, x = _standalone("unet", "int7", "x86", tmp_path)
    monkeypatch.undo()
    x.tofile(tmp_path / "x.raw")
    program = tmp_path / "main"
    options = ["-x", "c", written.path / "main.c", "-x", "none", f"-I{written.path}", written.library]
    command = [linker.command(get_target("x86")), *flags, *options, f"-Wl,-rpath,{written.path}", "-o", program]
    subprocess.run(command, check=True)
    symbols = subprocess.run(["nm", "-D", written.library], capture_output=True, text=True, check=True).stdout
    assert "__asan_report_load" in symbols and "__ubsan_handle" in symbols
    environment = os.environ | {"THREADS": "3", "ASAN_OPTIONS": "detect_leaks=0"}  # the example ends with its memory
    done = subprocess.run([program, tmp_path / "x.raw"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NETWORKS)
def test_valgrind_finds_nothing(name, tmp_path):
    if not shutil.which("valgrind") or host.platform.machine() != "x86_64":
        pytest.skip("valgrind is not here")
    written, x = _standalone(name, "int7", "x86", tmp_path)
    x.tofile(tmp_path / "x.raw")
    command = ["valgrind", "-q", "--error-exitcode=9", build(written, get_target("x86")), tmp_path / "x.raw"]
    done = subprocess.run(command, env=os.environ | {"THREADS": "2"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
