"""Progress of long work on stderr: a bar with an estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from eq_tvm.cli.supervisor import note

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_FRAMES = 0.25
_AT_MOST = 0.99  # as long as nobody says that it is done
_KNOWN = 0.02  # the part of the work from which on its pace says how long the rest takes

Draw = Callable[[float, str, str], None]  # what part is done, the message, how much time is left


@contextmanager
def show_progress() -> Iterator[Callable[[float, str], None]]:
    """Give a function of (done 0..1, message) that shows both until the context ends.

    While nothing is told, inside a compiler for example, what is shown goes on at the pace so far, ever slower.
    """
    console = Console(stderr=True)
    shown: AbstractContextManager[tuple[Draw, float]] = _bar(console) if console.is_terminal else _lines()
    estimate, ended = _Estimate(), threading.Event()
    with shown as (draw, period):

        def repeat() -> None:
            while not ended.wait(period):
                if estimate.message and estimate.told < 1:
                    draw(*estimate.now())

        def show(done: float, message: str) -> None:
            note(message)
            estimate.tell(done, message)
            draw(*estimate.now())

        repeating = threading.Thread(target=repeat, daemon=True)
        repeating.start()
        try:
            yield show
        finally:
            ended.set()
            repeating.join()


class _Estimate:
    """How far the work is, from what was told last and the time since then."""

    def __init__(self) -> None:
        self.start = self.since = time.monotonic()
        self.told, self.shown, self.message = 0.0, 0.0, ""

    def tell(self, done: float, message: str) -> None:
        self.told, self.message, self.since = done, message, time.monotonic()

    def now(self) -> tuple[float, str, str]:
        """What part is done (it never falls), the message, and how much time is left where that is known."""
        if not _KNOWN < self.told < 1:
            self.shown = max(self.shown, self.told)
            return self.shown, self.message, ""
        rest = (self.since - self.start) * (1 - self.told) / self.told
        waited = (time.monotonic() - self.since) / max(rest, 1e-3)
        self.shown = max(self.shown, self.told, min(1 - (1 - self.told) * math.exp(-waited), _AT_MOST))
        left = rest * (1 - self.shown) / (1 - self.told)
        return self.shown, self.message, f"about {_duration(left)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def _bar(console: Console) -> Iterator[tuple[Draw, float]]:
    columns = (SpinnerColumn(), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, left="")
        yield (
            lambda done, message, left: bar.update(task, completed=done, description=message, left=left),
            SECONDS_BETWEEN_FRAMES,
        )


@contextmanager
def _lines() -> Iterator[tuple[Draw, float]]:
    last_line = time.monotonic()  # what fails at once prints its error only
    lock = threading.Lock()

    def draw(done: float, message: str, left: str) -> None:
        nonlocal last_line
        with lock:
            now = time.monotonic()
            if now - last_line < SECONDS_BETWEEN_LINES and done < 1:
                return
            last_line = now
            print(f"[{done:4.0%}] {message}{', ' * bool(left)}{left}", file=sys.stderr, flush=True)

    yield draw, SECONDS_BETWEEN_LINES
