"""A command that ends in ways that no Python code can catch: one line, an exit code, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "eq_tvm"]
# A command whose work is replaced, to end as libraries sometimes do
FATED = """
import ctypes, os, signal, sys, time
sys.modules["torch"] = None  # as `run` does
sys.argv = ["eq_tvm", "compile"]
import eq_tvm.compiler
def compile(progress, **options):
    progress(0.1, "importing net.onnx")
    os.write(2, b"noise of a library")
    {fate}
eq_tvm.compiler.compile = compile
from eq_tvm.__main__ import run
run()
"""


def run_fated(fate, **environment):
    return subprocess.run(
        [sys.executable, "-c", FATED.format(fate=fate)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


@pytest.mark.parametrize(
    ("fate", "code", "said"),
    [
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            2,
            "compile, importing net.onnx: a library crashed (SIGSEGV); EQ_TVM_DEBUG=1 shows what it says",
        ),
        ("os.abort()", 2, "compile, importing net.onnx: a library crashed (SIGABRT)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 2, "compile, importing net.onnx: it was killed, with "),
        ("os.write(2, b'LLVM ERROR: out of memory'); os.abort()", 2, "out of memory; it may take 4.0 GB here"),
        ("os.write(2, b'OpenBLAS error: Memory allocation still failed'); os._exit(1)", 2, "out of memory; it may"),
        ("os._exit(3)", 2, "a library ended the process with exit code 3: noise of a library"),
        ("bytearray(5 << 30)", 2, "out of memory: MemoryError; it may take 4.0 GB here: where there is more, set EQ_"),
        (
            "raise KeyError('x')",
            1,
            "a fault of eq_tvm, please report it (EQ_TVM_DEBUG=1 shows where): KeyError: 'x'",
        ),
    ],
)
def test_one_line(fate, code, said):
    done = run_fated(fate)
    line, _, noise = done.stderr.partition("\n")
    assert (done.returncode, done.stdout) == (code, "") and line.startswith("error: ") and said in line
    assert noise == ("noise of a library" if code == 1 else "")


def test_limit_of_memory():
    assert "it may take 1.0 GB here" in run_fated("bytearray(2 << 30)", EQ_TVM_MEMORY="1").stderr
    assert "KeyError" in run_fated("import mmap; mmap.mmap(-1, 5 << 30); raise KeyError", EQ_TVM_MEMORY="0").stderr
    for wrong in ("x", "0.1", "1e9"):
        done = run_fated("pass", EQ_TVM_MEMORY=wrong)
        assert done.returncode == 2 and "EQ_TVM_MEMORY is a number of gigabytes from 0.5, or 0" in done.stderr


def test_debugging_shows_all():
    done = run_fated("raise KeyError('x')", EQ_TVM_DEBUG="1")
    assert done.returncode == 1 and "Traceback" in done.stderr and "noise of a library" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_command(tmp_path, number):
    process = start_compile(tmp_path, "b")
    while not (children := running_children(process)) or "libtvm" not in maps(children[0]):  # it has begun
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (128 + number, b"") and b"Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == [] and list((tmp_path / "tmp").iterdir()) == []


def start_compile(folder, output):
    for name in ("here", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return subprocess.Popen(
        [*COMMAND, "compile", "--output", output, "--no-verify"],
        cwd=folder / "here",
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # also where nohup runs the tests
    )


def running_children(process):
    try:
        return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except OSError:
        return []


def maps(process):
    try:
        return Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return ""
