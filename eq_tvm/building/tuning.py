"""Choosing kernels by measuring them, and a file that remembers what was found.

The file is JSON: for each processor, for each layer's shape and forms, the name of the fastest kernel and the time of
each that was tried (null where it can't be run). Without `kernel`, not all have been. (TVM's meta_schedule database
keeps traces that turn one function into a scheduled one; here the candidates are different algorithms with weights
packed differently, so it has no place for them.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.building.kernel_timing import arguments_of, time_kernel
from eq_tvm.errors import UserError, reason, system_errors
from eq_tvm.files.regular_file import read_text
from eq_tvm.files.whole_file import one_writer, write_whole

if TYPE_CHECKING:
    import tvm

    from eq_tvm.schedules.choice.candidate import Candidate

TRIED = 12  # candidates of a layer that are measured: those that the cost model thinks cheapest


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
            check_writable(file)  # before time is spent on what could not be kept

    def __call__(self, key: str, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate to use for the layer that `key` describes."""
        names = {candidate.name: candidate for candidate in candidates}
        if (entry := self._entries.get(key)) and entry.get("kernel") in names:
            return names[entry["kernel"]]
        if not self.measure:
            return min(candidates, key=lambda candidate: candidate.cycles)
        times: dict[str, float | None] = {}
        for candidate in tried(candidates):
            times[candidate.name] = microseconds(_measure(candidate, self.target))
        fastest = self.remember(key, times)
        assert fastest is not None
        self.progress(f"{key}: {fastest}")
        return names[fastest]

    def times(self, key: str) -> dict[str, float | None]:
        """What was measured of a layer, in microseconds by candidates' names."""
        return dict(self._entries.get(key, {}).get("us", {}))

    def remember(self, key: str, times: Mapping[str, float | None], complete: bool = True) -> str | None:
        """Keep times of a layer, and choose the fastest, which is returned, if these are `complete`."""
        taken = {name: time for name, time in times.items() if time is not None}
        fastest = min(taken, key=taken.__getitem__) if complete and taken else None
        self._entries[key] = ({"kernel": fastest} if fastest else {}) | {"us": dict(times)}
        if self.file:
            _remember(self.file, self.processor, {key: self._entries[key]})
        return fastest

    @property
    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self.known.setdefault(self.processor, {})
        return entries


def tried(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those of a layer that are measured: the cheapest of each algorithm, and then the cheapest of all."""
    candidates = sorted(candidates, key=lambda candidate: candidate.cycles)
    first = {candidate.algorithm: candidate for candidate in reversed(candidates)}
    rest = [candidate for candidate in candidates if candidate not in first.values()]
    return [*first.values(), *rest][: max(TRIED, len(first))]


def microseconds(seconds: float) -> float:
    """As the file has them."""
    return round(1e6 * seconds, 1)


def default_file() -> Path | None:
    """Where results are remembered by default; None where the user has no home."""
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "eq_tvm" / "tuning.json"
    except RuntimeError:
        return None


def check_writable(file: Path) -> None:
    """UserError where nothing can be remembered in a file, which is made where it is not there."""
    _change(file, lambda entries: None)


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


def _measure(candidate: Candidate, target: tvm.target.Target) -> float:
    """Median seconds of one run on this machine."""
    import tvm

    from eq_tvm import passes

    function = candidate.make()
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        run = tvm.compile(function, target=target)
    return time_kernel(run, *arguments_of(candidate, function.params))[0]


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
    _change(file, lambda entries: entries.setdefault(processor, {}).update(found))


def _change(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with system_errors(f"write the tuning file {file} (--tuning-file names another)"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with one_writer(file.parent):
            entries = _read(file)
            change(entries)
            text = json.dumps(entries, indent=1).encode()
            write_whole(file, lambda new: new.write(text))
