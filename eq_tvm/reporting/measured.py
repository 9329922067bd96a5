"""What a report says beyond what a bundle knows of itself: how fast it is here, and how well it does on some data."""

from __future__ import annotations

import datetime
import hashlib
import json
import statistics
from pathlib import Path
from typing import Any

from eq_tvm import host
from eq_tvm.artifacts import bundle as bundles

SECONDS = 3.0  # of timing
DATA = '<script id="data" type="application/json">', "</script>"  # around what a page says


def measured(
    path: str | Path, bench: bool, data: str | Path | None, reference: str | Path | None, page: str | Path | None = None
) -> dict[str, Any]:
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
    page : path, optional
        A report, if there is one, that is to be replaced: what it says of the same library, and is not asked for again,
        stays.

    Raises
    ------
    UserError
        As `eq_tvm.bench.bench` and `eq_tvm.evaluate.evaluate` do.
    """
    from eq_tvm.bench import bench as bench_whole
    from eq_tvm.bench import bench_layers
    from eq_tvm.evaluate import evaluate

    bundle = bundles.read(path)
    library = _sha256(bundle.library)
    before = [each for each in measured_before(page) if each["library"] == library] if page is not None else []
    found = {"library": library} | (before[0] if before else {})
    if bench:
        machine = f"{host.model_name()}, {datetime.date.today()}"
        found |= {"bench": bench_whole(path) | {"machine": machine}, "layers": bench_layers(path), "float32": None}
        if reference is not None:
            found["float32"] = _float_time(path, reference, found["bench"]["threads"])
    if data is not None:
        found["evaluated"] = evaluate(path, data, reference=reference) | {"data": Path(data).name}
    return found


def measured_before(page: str | Path) -> list[dict[str, Any]]:
    """What a report, if there is one, says was measured: of the bundles that it shows, and of others before these."""
    try:
        text = Path(page).read_text(encoding="utf-8")
        told = json.loads(text.partition(DATA[0])[2].partition(DATA[1])[0])
        found = [*(each["measured"] for each in told["bundles"]), *told["before"]]
        return [each for each in found if each["library"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # another page, or one of an older eq_tvm


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
