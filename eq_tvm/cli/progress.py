"""Progress of long work on stderr: a bar with an estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress() -> Iterator[Callable[[float, str], None]]:
    """Give a function of (done 0..1, message) that shows both until the context ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda done, message: bar.update(task, completed=done, description=message)


def _plain_lines() -> Callable[[float, str], None]:
    start = last_line = time.monotonic()  # what fails at once prints its error only

    def show(done: float, message: str) -> None:
        nonlocal last_line
        now = time.monotonic()
        if now - last_line < SECONDS_BETWEEN_LINES and done < 1:
            return
        last_line = now
        left = f", about {(now - start) * (1 - done) / done:.0f} s left" if 0.02 < done < 1 else ""
        print(f"[{done:4.0%}] {message}{left}", file=sys.stderr, flush=True)

    return show
