"""Run the command line in a forked process, as an untrusted input needs it, and tell what became of it."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60
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


def attempt(arguments: list[str], folder: Path) -> Outcome:
    """The command line in `folder`, in a process of its own that has loaded all there is to load."""
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
        import sys

        sys.stdout = os.fdopen(1, "w", closefd=False, errors="backslashreplace")
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        from eq_tvm.cli import main

        code = main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)
