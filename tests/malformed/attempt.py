"""Run the command line in a forked process, as an untrusted input needs it, and tell what became of it.

A process of its own loads all there is to load, and forks: that of the tests may have threads that no fork would have.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 180  # a small file takes one; machines may be busy
MEMORY = 4 << 30  # bytes: what the command line takes by default


@dataclass(frozen=True)
class Outcome:
    """Exit code (negative: the signal that ended it), what it printed, seconds, and bytes of memory at most."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int

    @property
    def fault(self) -> str:
        """What is wrong with how a command took its input; empty if nothing is."""
        lines = [line for line in self.err.splitlines() if not line.startswith(("warning: ", "["))]
        if self.seconds >= SECONDS:
            return f"it hangs: {self.err[-500:]}"
        if self.code not in (0, 2):
            return f"exit code {self.code}: {self.err[-1500:]}"
        if self.memory > MEMORY:
            return f"it took {self.memory / 2**30:.1f} GB"
        if self.code == 2 and (len(lines) != 1 or not lines[0].startswith("error: ") or len(lines[0]) > 1100):
            return f"not one line: {self.err[-1500:]}"
        if any(word in self.err for word in ("Traceback", "Check failed", "InternalError", "please report")):
            return f"it shows what is inside: {self.err[-1500:]}"
        return ""


class Attempts:
    """Runs commands one after the other."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, arguments: list[str], folder: Path) -> Outcome:
        """The command line in `folder`, in a process of its own."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps([arguments, str(folder)]) + "\n")
        self._server.stdin.flush()
        return Outcome(*json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        """End the process that forks."""
        self._server.communicate()


def _attempt(arguments: list[str], folder: Path) -> Outcome:
    out, err = (os.memfd_create(name) for name in ("out", "err"))
    start = time.monotonic()
    child = os.fork()
    if not child:
        _run(arguments, folder, out, err)
    ended = os.pidfd_open(child)
    if not select.select([ended], [], [], SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    texts = [os.pread(file, 1 << 20, 0).decode(errors="replace") for file in (out, err)]
    for file in (ended, out, err):
        os.close(file)
    return Outcome(os.waitstatus_to_exitcode(status), *texts, time.monotonic() - start, usage.ru_maxrss << 10)


def _run(arguments: list[str], folder: Path, out: int, err: int) -> None:
    code = 99
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        sys.stdout = os.fdopen(1, "w", closefd=False, errors="backslashreplace")
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        from eq_tvm.cli import main

        code = main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    import onnxruntime  # noqa: F401  (all that a command imports)

    import eq_tvm.compiler
    import eq_tvm.importer.relax_importer
    import eq_tvm.pipeline  # noqa: F401

    for line in sys.stdin:
        command, where = json.loads(line)
        print(json.dumps(list(vars(_attempt(command, Path(where))).values())), flush=True)
