"""What a report says beyond what a bundle knows of itself: how fast it is here, and how well it does on some data."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eq_tvm.artifacts import bundle as bundles

SECONDS = 3.0  # of timing


def measured(path: str | Path, bench: bool, data: str | Path | None, reference: str | Path | None) -> dict[str, Any]:
    """What `write_report` takes of one bundle.

    Parameters
    ----------
    path : str or Path
        The bundle.
    bench : bool
        Whether to time it and its layers, and the reference.
    data : str or Path, optional
        Images to evaluate it on.
    reference : str or Path, optional
        The float network.

    Raises
    ------
    UserError
        As `eq_tvm.bench.bench` and `eq_tvm.evaluate.evaluate` do.
    """
    from eq_tvm.bench import bench as bench_whole
    from eq_tvm.bench import bench_layers
    from eq_tvm.evaluate import evaluate

    found: dict[str, Any] = {}
    if bench:
        found |= {"bench": bench_whole(path), "layers": bench_layers(path)}
        if reference is not None:
            found["float32"] = _float_time(path, reference, found["bench"]["threads"])
    if data is not None:
        found["evaluated"] = evaluate(path, data, reference=reference)
    return found


def _float_time(path: str | Path, reference: str | Path, threads: int) -> dict[str, Any]:
    """The median milliseconds of one run of the float network, on as many threads, and the engine that runs it."""
    from eq_tvm.comparing.peers import times
    from eq_tvm.inputs.random_inputs import random_inputs
    from eq_tvm.running.float_network import float_engine, load_float

    bundle = bundles.read(path)
    runner = load_float(reference, bundle.preprocess, bundle.inputs, bundle.constants, threads=threads)
    seconds = times(runner, random_inputs(runner.inputs), SECONDS)
    engine = (float_engine() or "").removesuffix(" float32")
    return {"engine": engine, "median_ms": 1000 * statistics.median(seconds)}
