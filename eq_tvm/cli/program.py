"""The command line as a program: exit codes, errors in one line, and how it ends when it is interrupted."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import typer

from eq_tvm import host
from eq_tvm.cli.commands import app
from eq_tvm.cli.supervisor import DEBUG, allow_more, is_of_memory
from eq_tvm.errors import UserError, reason


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for what the user can put right.

    130 after Ctrl-C, and 143 where the system ends it: 128 and the signal's number, as shells have it.
    """
    os.environ.setdefault("TVM_NUM_THREADS", str(host.default_threads()))
    arguments = sys.argv[1:] if arguments is None else arguments
    interrupted = _note_interrupts()
    warnings.filterwarnings("ignore", ".*decompression bomb")  # Pillow's; larger ones are errors
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # one line, as errors are
    message, fault, code = "", None, 0
    try:
        _check_working_directory()
        code = app(arguments or ["--help"], prog_name=_name(arguments), standalone_mode=False) or 0
    except SystemExit as e:  # of typer's, when it has completed a word or shown how
        code = e.code if isinstance(e.code, int) else 0
    except UserError as e:
        message = str(e)
        _show_cause(e)
    except OSError as e:  # where no command knows better: a name is too long, a directory closed, a disk full
        where = str(e.filename or "can't write to the standard output" * (e.errno == errno.ENOSPC))
        message = ": ".join(filter(None, [where, reason(e)]))
    except typer.TyperException as e:
        message = e.format_message()
    except Exception as e:
        if os.environ.get(DEBUG) and not interrupted:
            raise
        if is_of_memory(str(e) or type(e).__name__):  # of TVM's a RuntimeError, of the loader's an ImportError
            message = f"out of memory: {reason(e)}; {allow_more()}"
        elif isinstance(e, ImportError) and not (e.name or "").startswith("eq_tvm"):
            message = f"can't load what eq_tvm needs: {reason(e)}; python -m eq_tvm doctor says what to install"
        fault = e
    if interrupted:  # whatever became of it: a call to a board fails with a UserError, an import may be left out
        return 128 + interrupted[0]
    if message:
        print("error:", _line(message), file=sys.stderr)
        return 2
    if fault:
        told = _line(f"{type(fault).__name__}: {reason(fault)}")
        print(f"error: a fault of eq_tvm, please report it ({DEBUG}=1 shows where): {told}", file=sys.stderr)
        return 1
    return code


def _show_cause(error: UserError) -> None:
    """What a message was made of may be a fault of ours after all."""
    if os.environ.get(DEBUG) and error.__cause__ is not None:
        traceback.print_exception(error.__cause__)


def _name(arguments: list[str]) -> str:
    """What the program is called in help; a shell completes the words behind a single one."""
    completion = COMPLETE in os.environ or any(a.endswith("-completion") for a in arguments[:1])
    return SCRIPT if completion else "python -m eq_tvm"


SCRIPT = "eq-tvm"
COMPLETE = "_EQ_TVM_COMPLETE"


def _check_working_directory() -> None:
    """Libraries end the process where there is none."""
    try:
        Path.cwd()
    except OSError as e:
        raise UserError(f"the working directory is gone ({reason(e)}): change to one that is there") from e


def _line(message: str) -> str:
    """What fits into a line: names in a file may be as long as they like."""
    line = " ".join(message.split())
    return line if len(line) <= _LONG else f"{line[: _LONG // 2]} ... {line[-_LONG // 2 :]}"


_LONG = 1000


def _note_interrupts() -> list[int]:
    """Ctrl-C inside a pass comes back from TVM as a RuntimeError: the list given then tells what it was.

    What asks the process to end does the same, so that nothing half-written stays behind.
    """
    interrupted: list[int] = []
    last = -_REPEATED

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        interrupted.append(number)
        last, before = time.monotonic(), last
        if last - before >= _REPEATED:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, interrupt)
    return interrupted


_REPEATED = 1.0  # seconds: a terminal signals this process and its parent, which passes it on
