"""Work in a child process, which may end as it likes."""

import faulthandler
import json
import os
import signal
import time

import pytest

from eq_tvm.boards.isolated import isolated


def crash(number):
    faulthandler.disable()  # which pytest enables
    os.kill(os.getpid(), number)


def test_what_it_returns():
    assert isolated(lambda: "x" * 10**6, 10) == "x" * 10**6


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: crash(signal.SIGILL), "it crashes (SIGILL)"),
        (lambda: crash(signal.SIGSEGV), "it crashes (SIGSEGV)"),
        (lambda: time.sleep(60), "it takes longer than 0 s"),
        (lambda: 1 // 0, "integer division or modulo by zero"),
    ],
)
def test_what_becomes_of_others(work, said, monkeypatch):
    children, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    assert json.loads(isolated(work, 0.3 if "longer" in said else 10)) == {"failed": said}
    (child,) = children
    with pytest.raises(ChildProcessError):  # nothing is left of it
        os.waitpid(child, os.WNOHANG)
