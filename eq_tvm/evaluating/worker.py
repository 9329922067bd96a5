"""The program of a process that counts parts: `worker.py FROM TO`, two file descriptors that talk to its parent.

It gets a `Question`, then one part after the other, and sends how far it is, and what was counted, or what is wrong.
"""

from __future__ import annotations

import signal
import sys
import time
import warnings
from multiprocessing.connection import Connection
from types import ModuleType

from eq_tvm.errors import UserError

PACE = 0.5  # seconds between two messages about how far it is


def main(source: int, sink: int) -> None:
    """Work until the parent says no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    warnings.simplefilter("ignore")  # the parent gives the same ones
    hidden: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    hidden.setdefault("torch", None)  # as of the command line
    from eq_tvm.evaluating.counting import counter

    calls, answers = Connection(source, writable=False), Connection(sink, readable=False)
    try:
        count = counter(calls.recv())
        while (part := calls.recv()) is not None:
            last = time.monotonic()

            def tell(done: int) -> None:
                nonlocal last
                if time.monotonic() > last + PACE:
                    last = time.monotonic()
                    answers.send(("at", done))

            answers.send(("counted", count(part, tell)))
    except UserError as e:
        answers.send(("wrong", str(e)))
    except (EOFError, BrokenPipeError):  # there is no parent any more
        pass


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
