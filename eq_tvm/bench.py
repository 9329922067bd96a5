"""How fast a compiled network is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eq_tvm import host
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.errors import UserError
from eq_tvm.inputs.random_inputs import random_inputs
from eq_tvm.running import workers
from eq_tvm.running.runtime import Board, Model, load


def bench(
    bundle: str | Path, *, threads: int | None = None, seconds: float = 3.0, board: Board | None = None
) -> dict[str, float | int]:
    """Time a network on random input.

    Parameters
    ----------
    bundle : str or Path
    threads : int, optional
        At most the processors there are. By default ``TVM_NUM_THREADS``, or else the physical cores; on a board what
        its server was started with.
    seconds : float
        How long to measure, after a tenth of it to warm up; at least three runs.
    board : Board, optional
        Where to run instead of this machine (`eq_tvm.connect` gives one), and whose clock counts.

    Returns
    -------
    dict
        `median_ms`, `min_ms`, `threads`, `runs`.
    """
    if board is None:
        times = _on_threads(threads, seconds, lambda: _measure(load(bundle), seconds))
        threads = threads or host.default_threads()
    else:
        _check_positive(threads, seconds)
        model = load(bundle, board=board)
        threads = board.use_threads(threads)
        times = _measure(model, seconds)
    return {
        "median_ms": round(1000 * statistics.median(times), 4),
        "min_ms": round(1000 * min(times), 4),
        "threads": threads,
        "runs": len(times),
    }


def bench_layers(
    bundle: str | Path, *, threads: int | None = None, seconds: float = 3.0, board: Board | None = None
) -> list[dict[str, Any]]:
    """Time each layer of a network on random input: what `eq_tvm.running.layers.time_layers` returns.

    Parameters are those of `bench`.
    """
    from eq_tvm.artifacts import bundle as bundles
    from eq_tvm.running.layers import time_layers

    if board is not None:
        _check_positive(threads, seconds)
        return board.time_layers(bundle, threads, seconds)
    description = bundles.read(bundle)
    return _on_threads(threads, seconds, lambda: time_layers(load(description), description, seconds))


def share_of_islands(bundle: Bundle, *, seconds: float = 0.3) -> float | None:
    """What part of a run's time float islands take, 0 to 1; None where there are none, or it does not run here."""
    from eq_tvm.running import layers
    from eq_tvm.running.here import runs_here

    if not bundle.islands or not runs_here(bundle):
        return None
    share: float = _on_threads(1, seconds, lambda: layers.share_of_islands(load(bundle), bundle, seconds))
    return share


def _on_threads(threads: int | None, seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` returns, with a pool of so many of TVM's threads."""
    threads = host.default_threads() if threads is None else threads
    _check_positive(threads, seconds)
    if threads > (there := host.processors()):  # TVM would never be done with making 40000
        raise UserError(f"this machine has {there} processors, not {threads}: pass --threads {there} or less")
    return workers.call(work, threads)


def _check_positive(threads: int | None, seconds: float) -> None:
    if (threads is not None and threads < 1) or not 0 < seconds < math.inf:
        raise UserError(f"--threads and --seconds must be positive numbers, not {threads} and {seconds}")


def _measure(model: Model, seconds: float) -> list[float]:
    return model.measure(random_inputs(model.inputs), seconds)
