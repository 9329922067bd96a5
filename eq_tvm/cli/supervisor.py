"""A command runs in a child process: what kills that, is one line of the process that waits for it.

TVM, LLVM and the other libraries may abort, be ended by the system for their memory, or crash on a file that nobody
has foreseen. The process that a person started does nothing but wait, so it can say so, remove the child's temporary
files, and end with an exit code. What is left by a command that was killed as a whole, the next one removes.
"""

from __future__ import annotations

import ctypes
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

from eq_tvm.files.leftovers import PREFIX, announce_to, left_behind, temporary_directory

MEMORY = "EQ_TVM_MEMORY"  # gigabytes that a command may take; 0: as many as there are
DEBUG = "EQ_TVM_DEBUG"  # any value: tell all that libraries print, and where an error came from
GIGABYTES = 4.0
PER_BYTE = 8  # of files that are named on the command line: weights and images in float32, and copies of them
_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def supervise() -> None:
    """Fork; return in the child, which does the work. The parent waits for it, and ends with its exit code."""
    if limit := _memory_limit():
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    stack = ExitStack()
    scratch = _scratch(stack)
    said, doing, places = (os.memfd_create(name) for name in ("stderr", "doing", "places"))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else, where it was ignored, nobody could wait
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    parent = os.getpid()
    child = os.fork()
    if child:
        _wait(child, stack, said, doing, places)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _end_with(parent)
    if scratch is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    _silence_libraries(said)
    announce_to(places)
    global _doing
    _doing = doing


def note(message: str) -> None:
    """What is being done, for the case that it ends the process."""
    if _doing is not None:
        with suppress(OSError):
            text = message.encode(errors="replace")[:1000]
            os.ftruncate(_doing, 0)
            os.pwrite(_doing, text, 0)


def finished() -> None:
    """The command has said all that there is to say: its exit code is its own, not that of a library."""
    note(_FINISHED)


_doing: int | None = None
_FINISHED = "\0"


def is_of_memory(text: str) -> bool:
    """Whether what a library says is that there is no more memory."""
    return any(words in text for words in _NO_MEMORY)


_NO_MEMORY = ("MemoryError", "bad_alloc", "Unable to allocate", "annot allocate", "emory allocation", "ut of memory",
              "map zero-fill pages")  # fmt: skip


def allow_more() -> str:
    """What a person may do where memory does not suffice."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return "a machine with more is needed"
    return f"it may take {limit / 2**30:.1f} GB here: where there is more, set {MEMORY} to the number of gigabytes"


def allow_for(name: str) -> None:
    """Let this process take more for a file that it will read, though the command line does not name it."""
    limit, most = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY or os.environ.get(MEMORY):
        return
    more = limit + PER_BYTE * _size(name)
    resource.setrlimit(resource.RLIMIT_DATA, (more if most == resource.RLIM_INFINITY else min(more, most), most))


def _memory_limit() -> int:
    """Bytes of data that the child may have: `EQ_TVM_MEMORY`, or more where large files are named; 0: no limit."""
    given = os.environ.get(MEMORY, "")
    try:
        gigabytes = float(given) if given else GIGABYTES
        if gigabytes != 0 and not 0.5 <= gigabytes < 1e6:
            raise ValueError
    except ValueError:
        _print(f"error: {MEMORY} is a number of gigabytes from 0.5, or 0 for no limit, not {given!r}\n")
        sys.exit(2)
    if given:
        return int(gigabytes * 2**30)
    return int(gigabytes * 2**30) + PER_BYTE * sum(map(_size, sys.argv[1:]))


def _size(name: str) -> int:
    with suppress(OSError, ValueError):
        path = Path(name)
        return path.stat().st_size if path.is_file() else 0
    return 0


def _scratch(stack: ExitStack) -> Path | None:
    """A directory for temporary files, which are then easily removed; None where there can be none."""
    with suppress(OSError):
        folder = Path(tempfile.gettempdir())
        prefix = f"{PREFIX}command-"  # what programs in Python have there is not locked
        for left in left_behind(folder, prefix):
            shutil.rmtree(left, ignore_errors=True)
        path = stack.enter_context(temporary_directory(folder, prefix))
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        path.chmod(0o700)
        return path
    return None


def _end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:  # it did already
        os._exit(128 + signal.SIGKILL)


def _silence_libraries(said: int) -> None:
    """Put what libraries write to stderr aside; Python's own goes where it went."""
    if os.environ.get(DEBUG):
        return
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        return
    raw = io.BufferedWriter(_Lossy(stderr, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, line_buffering=True, errors="backslashreplace")
    os.dup2(said, 2)


class _Lossy(io.FileIO):
    """What can't be written is lost, as on a disk that is full: there is nobody who could be told."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(memoryview(data))


def _wait(child: int, stack: ExitStack, said: int, doing: int, places: int) -> NoReturn:
    with stack:
        while True:
            number = signal.sigwait(_FORWARDED | {signal.SIGCHLD})
            if number != signal.SIGCHLD:
                os.kill(child, number)  # it is there until someone has waited for it
                continue
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                break
    code = os.waitstatus_to_exitcode(status)
    if code:
        _tidy(places)
    libraries = _text(said)
    if code == 1 and is_of_memory(libraries):  # OpenBLAS ends the process by itself
        code = -signal.SIGKILL
    if code < 0:
        code = _killed(-code, _text(doing), libraries, usage.ru_maxrss << 10)
    elif _text(doing) != _FINISHED:  # as MKL does, where it is not whole
        last = next(reversed(libraries.split("\n\n")[-1].strip().splitlines()), "")
        _print(f"error: a library ended the process with exit code {code}: {last}\n")
        code = 2
    elif code == 1:
        _print(libraries)
    os._exit(code)


def _tidy(places: int) -> None:
    """Remove what the child left beside what it was writing."""
    from eq_tvm.artifacts.directory import restore

    for place in set(filter(None, os.pread(places, 1 << 16, 0).split(b"\0"))):
        with suppress(OSError):
            restore(Path(os.fsdecode(place)))


def _killed(number: int, doing: str, libraries: str, used: int) -> int:
    """Say why the child did not end by itself; its exit code."""
    if number in _FORWARDED or number == signal.SIGPIPE:
        return 128 + number
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if is_of_memory(libraries) or (limit != resource.RLIM_INFINITY and used > limit // 2):
        why = f"out of memory; {allow_more()}"
    elif number == signal.SIGKILL:
        why = f"it was killed, with {used / 2**30:.1f} GB of memory in use; perhaps there was no more"
    else:
        why = f"a library crashed ({signal.Signals(number).name}); {DEBUG}=1 shows what it says"
    command = f"{sys.argv[1]}, " if len(sys.argv) > 1 else ""
    when = "at the end" if doing == _FINISHED else " ".join(doing.split()) or "at the start"
    if os.isatty(2):
        os.write(2, b"\r\x1b[K\x1b[?25h")  # the progress bar had hidden the cursor
    _print(f"error: {command}{when}: {why}\n")
    return 2


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 16, 0).decode(errors="replace")


def _print(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode(errors="replace"))
