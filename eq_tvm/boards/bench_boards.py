"""How fast a bundle is on several boards."""

from __future__ import annotations

import statistics
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eq_tvm.bench import bench
from eq_tvm.boards.places import Boards
from eq_tvm.boards.session import Session
from eq_tvm.errors import UserError


def bench_boards(
    bundle: str | Path, boards: Boards, *, threads: int | None = None, seconds: float = 3.0
) -> dict[str, Any]:
    """Time a network on some boards at the same time.

    Parameters
    ----------
    bundle : str or Path
    boards : Boards
    threads, seconds
        As `eq_tvm.bench.bench` takes them.

    Returns
    -------
    dict
        `boards`: for each what `bench` returns, with its address as `board`. `median_ms`: the median of theirs;
        `min_ms`: the least. What fails on some boards is a warning.

    Raises
    ------
    UserError
        It fails on all of them.
    """
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(boards.connect()) for _ in range(boards.count())]

        def measure(board: Session) -> dict[str, Any] | str:
            try:
                return {"board": board.name} | bench(bundle, threads=threads, seconds=seconds, board=board)
            except UserError as e:
                return str(e)

        with ThreadPoolExecutor(len(sessions)) as pool:
            for result in pool.map(measure, sessions):
                if isinstance(result, str):
                    failed.append(result)
                else:
                    results.append(result)
    for message in failed if results else []:
        warnings.warn(f"left out: {message}", stacklevel=2)
    if not results:
        raise UserError(failed[0])
    return {
        "boards": sorted(results, key=lambda result: result["board"]),
        "median_ms": statistics.median(result["median_ms"] for result in results),
        "min_ms": min(result["min_ms"] for result in results),
    }
