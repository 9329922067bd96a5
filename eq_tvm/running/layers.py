"""Where the time of a compiled network goes, layer by layer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.inputs.random_inputs import random_inputs
from eq_tvm.running import workers
from eq_tvm.running.runtime import Model


def time_layers(model: Model, bundle: Bundle, seconds: float) -> list[dict[str, Any]]:
    """The fastest time of each function that a run calls.

    Parameters
    ----------
    model : Model
    bundle : Bundle
        The one that `model` was loaded from: it knows which kernel each layer got.
    seconds : float
        How long to measure.

    Returns
    -------
    list of dict
        In the order of execution: `function`, `us`, `share` (of the sum), and for convolutions and dense layers
        `layer`, `kernel`, `gmacs` (10^9 multiply-accumulates per second) and `bound`, the same for multiplications
        that run at the rate of `peak` (None where that can't be measured).
    """
    return _described(_timed(model, seconds), bundle)


def share_of_islands(model: Model, bundle: Bundle, seconds: float) -> float:
    """What part of a run's time float islands take, 0 to 1; parameters are those of `time_layers`."""
    calls = _timed(model, seconds)
    return float(sum(took for name, took in calls if name in bundle.islands) / sum(took for _, took in calls))


def _timed(model: Model, seconds: float) -> list[list[Any]]:
    """The name of each function that a run calls, and its fastest time in seconds."""
    import tvm

    inputs = list(map(tvm.runtime.tensor, random_inputs(model.inputs)))
    calls: list[list[Any]] = []
    position, start = 0, 0.0

    def note(_function: Any, name: str, before: bool, _result: Any, *_args: Any) -> None:
        nonlocal position, start
        if before:
            start = time.perf_counter()
            return
        took = time.perf_counter() - start
        if position == len(calls):
            calls.append([name, took])
        calls[position][1] = min(calls[position][1], took)
        position += 1

    model.instrument(note)
    end = time.perf_counter() + seconds
    runs = 0
    while runs < 3 or time.perf_counter() < end:
        position, runs = 0, runs + 1
        with workers.computing():
            model.main(*inputs)
    return [call for call in calls if not call[0].startswith("vm.builtin")]


def _described(calls: list[list[Any]], bundle: Bundle) -> list[dict[str, Any]]:
    total = sum(took for _, took in calls)
    waiting: dict[str, list[dict[str, Any]]] = {}
    for kernel in bundle.kernels:
        waiting.setdefault(kernel["function"], []).append(kernel)
    peaks = _peaks(bundle)
    rows = []
    for name, took in calls:
        row = {"function": name, "us": 1e6 * took, "share": took / total}
        if kernels := waiting.get(name):
            kernel = kernels.pop(0)
            row |= {"layer": kernel["layer"], "kernel": kernel["kernel"], "gmacs": kernel["macs"] / took / 1e9}
            peak = peaks(kernel["instruction"])
            row["bound"] = peak and peak * kernel["macs"] / kernel["multiplications"]
        rows.append(row)
    return rows


def _peaks(bundle: Bundle) -> Callable[[str], float | None]:
    """A function that gives, for an instruction, 10^9 multiply-accumulates per second on data in the near caches."""
    import tvm

    from eq_tvm.building.tuning import measure_peak

    compiler = tvm.runtime.enabled("llvm")  # not where only TVM's runtime is loaded
    known: dict[str, float | None] = {}

    def peak(instruction: str) -> float | None:
        if instruction not in known:
            known[instruction] = measure_peak(instruction, bundle.target) if compiler else None
        return known[instruction]

    return peak
