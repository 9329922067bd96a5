"""Progress of long work on stderr: a bar with an estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from eq_tvm.cli.supervisor import note

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress() -> Iterator[Callable[[float, str], None]]:
    """Give a function of (done 0..1, message) that shows both until the context ends.

    Both show that work goes on even while nothing is told: the bar has something that turns, and the last line comes
    again.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        with _plain_lines() as show:
            yield _noted(show)
        return
    columns = (SpinnerColumn(), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield _noted(lambda done, message: bar.update(task, completed=done, description=message))


def _noted(show: Callable[[float, str], object]) -> Callable[[float, str], None]:
    def noted(done: float, message: str) -> None:
        note(message)
        show(done, message)

    return noted


@contextmanager
def _plain_lines() -> Iterator[Callable[[float, str], None]]:
    start = last_line = time.monotonic()  # what fails at once prints its error only
    last: tuple[float, str] | None = None
    lock, ended = threading.Lock(), threading.Event()

    def show(done: float, message: str) -> None:
        nonlocal last, last_line
        with lock:
            last, now = (done, message), time.monotonic()
            if now - last_line < SECONDS_BETWEEN_LINES and done < 1:
                return
            last_line = now
            left = f", about {(now - start) * (1 - done) / done:.0f} s left" if 0.02 < done < 1 else ""
            print(f"[{done:4.0%}] {message}{left}", file=sys.stderr, flush=True)

    def repeat() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            if last is not None and last[0] < 1:
                show(*last)

    repeating = threading.Thread(target=repeat, daemon=True)
    repeating.start()
    try:
        yield show
    finally:
        ended.set()
        repeating.join()
