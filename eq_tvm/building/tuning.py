"""Choosing kernels by measuring them on this machine, and a file that remembers what was found.

The file is JSON: for each processor, for each layer's shape and forms, the name of the fastest kernel and the time of
each that was tried. (TVM's meta_schedule database keeps traces that turn one function into a scheduled one; here the
candidates are different algorithms with weights packed differently, so it has no place for them.)
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.errors import UserError, reason, system_errors
from eq_tvm.files.regular_file import read_text
from eq_tvm.files.whole_file import one_writer, write_whole

if TYPE_CHECKING:
    import tvm

    from eq_tvm.schedules.choice.candidates import Candidate

TRIED = 12  # candidates of a layer that are measured: those that the cost model thinks cheapest
SECONDS = 0.05  # of measuring one candidate
FAR = 48 << 20  # bytes of copies of the weights that take turns, as in a network none are cached when it is their turn


class Tuner:
    """Picks a kernel for each layer: a remembered one, or, where it may measure, the fastest.

    Parameters
    ----------
    target : tvm.target.Target
    processor : str
        What the file's entries are valid for.
    file : Path or None
        None: nothing is remembered.
    measure : bool
        Whether to measure layers that the file does not know; else they are left to the cost model.
    progress : callable (message), optional
    """

    def __init__(
        self,
        target: tvm.target.Target,
        processor: str,
        file: Path | None,
        measure: bool,
        progress: Callable[[str], None] | None = None,
    ):
        self.target, self.processor, self.file, self.measure = target, processor, file, measure
        self.progress = progress or (lambda message: None)
        self.known = _read(file) if file else {}
        if file and measure:
            _remember(file, processor, {})  # before time is spent on what could not be kept

    def __call__(self, key: str, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate to use for the layer that `key` describes."""
        entries = self.known.setdefault(self.processor, {})
        names = {candidate.name: candidate for candidate in candidates}
        if (entry := entries.get(key)) and entry["kernel"] in names:
            return names[entry["kernel"]]
        best = min(candidates, key=lambda candidate: candidate.cycles)
        if not self.measure:
            return best
        times: dict[str, float] = {}
        for candidate in _varied(sorted(candidates, key=lambda candidate: candidate.cycles)):
            times[candidate.name] = round(1e6 * _measure(candidate, self.target), 1)
        fastest = min(times, key=times.__getitem__)
        self.progress(f"{key}: {fastest}")
        entries[key] = {"kernel": fastest, "us": times}
        if self.file:
            _remember(self.file, self.processor, {key: entries[key]})
        return names[fastest]


def default_file() -> Path | None:
    """Where results are remembered by default; None where the user has no home."""
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "eq_tvm" / "tuning.json"
    except RuntimeError:
        return None


def measure_peak(instruction: str, target: dict[str, Any]) -> float:
    """10^9 multiply-accumulates per second of this machine, on TVM's threads: see `eq_tvm.schedules.choice.peak`.

    Parameters
    ----------
    instruction : str
        As `eq_tvm.schedules.processor.instructions.named` takes it.
    target : dict
        A bundle's.
    """
    import tvm

    from eq_tvm import passes
    from eq_tvm.schedules.choice.peak import peak_kernel
    from eq_tvm.schedules.processor.instructions import named
    from eq_tvm.schedules.processor.machine import Machine

    machine = Machine(**{field.name: target[field.name] for field in fields(Machine) if field.name in target})
    function, macs = peak_kernel(named(instruction, machine.instructions), machine)
    random = np.random.default_rng(0)
    arguments = [tvm.runtime.tensor(_random(parameter, random)) for parameter in function.params]
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        run = tvm.compile(function, target=tvm.target.Target(json.loads(target["tvm"])))
    times = run.jit().time_evaluator("main", tvm.cpu(), number=200, repeat=5)(*arguments).results
    return macs / min(times) / 1e9


def _varied(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The cheapest of each algorithm, and then the cheapest of all."""
    first = {candidate.algorithm: candidate for candidate in reversed(candidates)}
    rest = [candidate for candidate in candidates if candidate not in first.values()]
    return [*first.values(), *rest[: TRIED - len(first)]]


def _measure(candidate: Candidate, target: tvm.target.Target) -> float:
    """Median seconds of one run, with weights that are not in the near caches."""
    import tvm

    from eq_tvm import passes

    function = candidate.make()
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        run = tvm.compile(function, target=target)
    random = np.random.default_rng(0)
    constants = [np.ascontiguousarray(array) for array in candidate.constants()]
    copies = max(1, min(64, FAR // max(sum(array.nbytes for array in constants), 1)))
    weights = [[tvm.runtime.tensor(array) for array in constants] for _ in range(copies)]
    first, *rest = function.params
    activations = tvm.runtime.tensor(_random(first, random))
    others = [tvm.runtime.tensor(_random(parameter, random)) for parameter in rest[len(constants) :]]
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        for copy in weights:
            start = time.perf_counter()
            run(activations, *copy, *others)
            times.append(time.perf_counter() - start)
            if time.perf_counter() > end and len(times) >= 5:
                break
    return statistics.median(times)


def _random(parameter: tvm.tirx.Var, random: np.random.Generator) -> np.ndarray:
    shape, dtype = [int(extent) for extent in parameter.shape], str(parameter.dtype)
    return random.integers(0, 64, shape).astype(dtype)


def _read(file: Path) -> dict[str, Any]:
    try:
        entries = json.loads(read_text(file))
        if not isinstance(entries, dict) or not all(isinstance(layers, dict) for layers in entries.values()):
            raise ValueError("it is not a mapping of processors to layers")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(
            f"can't read the tuning file {file} ({reason(e)}): delete it, or name another by --tuning-file"
        ) from e
    return entries


def _remember(file: Path, processor: str, found: dict[str, Any]) -> None:
    """Add what was found to what is in the file by now: others may tune at the same time."""
    with system_errors(f"write the tuning file {file} (--tuning-file names another)"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with one_writer(file.parent):
            entries = _read(file)
            entries.setdefault(processor, {}).update(found)
            text = json.dumps(entries, indent=1).encode()
            write_whole(file, lambda new: new.write(text))
