"""Networks side by side: how good, how fast, how large."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.comparing.peers import PEERS, is_installed, load_peer, times
from eq_tvm.errors import UserError, system_errors
from eq_tvm.evaluate import measure
from eq_tvm.inputs.random_inputs import random_inputs
from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess
from eq_tvm.running import workers
from eq_tvm.running.float_network import Runner, float_engine, load_float
from eq_tvm.running.runtime import load

if TYPE_CHECKING:
    from eq_tvm.passes import Progress

ROUNDS = 5  # in which all are timed in turn, so that what else the machine does meets all alike
Row = dict[str, str | float | int | None]


def compare(
    models: Sequence[str | Path],
    data: str | Path,
    *,
    preprocess: Preprocess | str | Path | None = None,
    reference: str | Path | None = None,
    against: Sequence[str] = (),
    limit: int | None = None,
    seconds: float = 3.0,
    progress: Progress | None = None,
) -> list[Row]:
    """Measure several networks on the same images.

    Parameters
    ----------
    models : sequence of str or Path
        Bundles, and ONNX files (float or quantized), which `against` runs, or else the float engine.
    data, reference, limit
        As `eq_tvm.evaluate.evaluate` has them.
    preprocess : Preprocess or path of a YAML file, optional
        For all. By default bundles take their own, and ONNX files the first bundle's.
    against : sequence of str
        Of `eq_tvm.comparing.peers.PEERS`: they run the ONNX files among the models, or the reference where there are
        none. One that is not installed is left out, with a warning.
    seconds : float
        How long to time each.
    progress : callable (done 0..1, message), optional

    Returns
    -------
    list of dict
        For each network and engine `model`, `engine`, what `evaluate` returns, `median_ms` of one run on one thread,
        and `bytes`: of a bundle's shared object, or of the file.

    Raises
    ------
    UserError
        What `evaluate` raises, an engine that there is not, or nothing that it could run.
    """
    if not 0 < seconds < math.inf:
        raise UserError(f"--seconds must be a positive number, not {seconds}")
    if unknown := [engine for engine in against if engine not in PEERS]:
        raise UserError(f"--against: no such engine: {unknown[0]}; there are: {', '.join(PEERS)}")
    if isinstance(preprocess, str | Path):
        preprocess = Preprocess.read(preprocess)
    entries = _entries(models, preprocess, reference, against)
    rows: list[Row] = []
    for i, entry in enumerate(entries):
        samples = Samples.read(data, entry.runner.inputs, entry.preprocess)
        original = None
        if reference is not None:
            constants = None if entry.bundle is None else entry.bundle.constants
            original = load_float(reference, entry.preprocess, entry.runner.inputs, constants)
        step = _part(progress, i / len(entries), 1 / len(entries), f"{entry.name}, {entry.engine}: ")
        names = str(entry.name), str(reference)
        result = measure(entry.runner, samples, original, names=names, limit=limit, progress=step)
        rows.append({"model": entry.name, "engine": entry.engine} | result)
    for row, entry, median in zip(rows, entries, _medians(entries, seconds), strict=True):
        row |= {"median_ms": median, "bytes": entry.size}
    return rows


@dataclass(frozen=True)
class _Entry:
    """A network in an engine."""

    name: str
    engine: str
    runner: Runner
    preprocess: Preprocess | None
    size: int
    bundle: Bundle | None = None


def _entries(
    models: Sequence[str | Path], preprocess: Preprocess | None, reference: str | Path | None, against: Sequence[str]
) -> list[_Entry]:
    """In the order of the models; those that peers run behind each other."""
    opened = [(model, _opened(model)) for model in models]
    first = next((bundle for _, bundle in opened if bundle is not None), None)
    peers = [engine for engine in against if _is_there(engine)]
    if against and all(bundle is not None for _, bundle in opened):
        if reference is None:
            raise UserError(
                f"--against {','.join(against)}: nothing to run: pass the ONNX file too, or --reference MODEL"
            )
        opened.append((reference, None))
        if not peers:
            opened.pop()
    entries = []
    for model, bundle in opened:
        if bundle is not None:
            of_bundle = preprocess or bundle.preprocess
            size = bundle.library.stat().st_size
            entries.append(_Entry(str(model), f"eq_tvm {bundle.scheme}", load(bundle), of_bundle, size, bundle))
            continue
        steps = preprocess or (first.preprocess if first else None)
        inputs = first.inputs if first else ()
        with system_errors(f"read {model}"):
            size = Path(model).stat().st_size
        if against:
            entries += [_Entry(str(model), each, load_peer(each, model, steps, inputs), steps, size) for each in peers]
        else:
            runner = load_float(model, steps, inputs, threads=1)
            entries.append(_Entry(str(model), (float_engine() or "").removesuffix(" float32"), runner, steps, size))
    if not entries:
        raise UserError(f"nothing to compare: none of {', '.join(against)} is installed: pip install {against[0]}")
    return entries


def _opened(model: str | Path) -> Bundle | None:
    """The bundle; None of a file."""
    with system_errors(f"read {model}"):
        if not Path(model).exists():
            raise UserError(f"no such bundle or ONNX file: {model}")
        return bundles.read(model) if Path(model).is_dir() else None


def _is_there(engine: str) -> bool:
    if not is_installed(engine):
        warnings.warn(f"{engine} is not installed and left out: pip install {engine}", stacklevel=4)
        return False
    return True


def _medians(entries: Sequence[_Entry], seconds: float) -> list[float]:
    """In ms, of one run on noise, on one thread."""
    noise = [random_inputs(entry.runner.inputs) for entry in entries]

    def all_in_turn() -> list[list[float]]:
        found: list[list[float]] = [[] for _ in entries]
        for _ in range(ROUNDS):
            for mine, entry, arrays in zip(found, entries, noise, strict=True):
                mine += times(entry.runner, arrays, seconds / ROUNDS)
        return found

    return [round(1000 * statistics.median(each), 4) for each in workers.call(all_in_turn, threads=1)]


def _part(progress: Progress | None, start: float, share: float, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, message: progress(start + share * done, name + message)
