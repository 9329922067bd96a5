"""Calibration by the default method, unless the plainest one keeps what the network computes closer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm import passes, pipeline
from eq_tvm.methods import PLAINEST
from eq_tvm.quantizing.quantization import Quantization

if TYPE_CHECKING:
    import numpy as np
    import tvm

_CLOSE = 0.999  # a cosine that leaves nothing to compare
_CLEARLY = 0.75  # of the loss that is left
_AT_ONCE = 2  # samples simulated
_SHARE = 0.85  # of the time, where a comparison may follow


@dataclass(frozen=True)
class Calibrated:
    """What was found.

    Attributes
    ----------
    prepared, annotated : tvm.IRModule
        The module as calibration had it, and what became of it.
    layers : list of LayerRecord
    how : Quantization
        With the method that was taken.
    compared : dict of str to float
        Where two methods were compared, the lowest cosine of an output, or of a part of one, of each; of
        the second over as many samples as told that it is not closer.
    """

    prepared: tvm.IRModule
    annotated: tvm.IRModule
    layers: list[passes.LayerRecord]
    how: Quantization
    compared: Mapping[str, float]


def calibrate(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    to_compare: dict[str, np.ndarray],
    how: Quantization,
    progress: passes.Progress,
    dump: str | Path | None = None,
) -> Calibrated:
    """Calibrate a canonical module by the method asked for, or by the better one of two.

    Where nobody asked for a method, and an output (or a part of one: see `passes.part_cosines`) does not come within a
    cosine of 0.999 with the default one, the largest magnitudes are tried as well: what is rare in a tensor, and
    saturates for the sake of all else, may be what the network looks for. They are taken where that clearly brings the
    worst part closer. Where activations were widened to bring it closer, there is nothing to compare.

    Parameters
    ----------
    module : tvm.IRModule
        Canonical.
    images, to_compare : dict
        As `pipeline.calibrate` takes them: to find scales with, and to compare methods on.
    how : Quantization
    progress : callable (done 0..1, message)
    dump : path, optional
        See `pipeline`.
    """

    def run(how: Quantization, start: float, end: float, dump: str | Path | None = None) -> Calibrated:
        progressing = lambda done, message: progress(start + done * (end - start), message)  # noqa: E731
        prepared = pipeline.prepare(module, images, method=how.method, **how.options, progress=progressing, dump=dump)
        annotated, layers = pipeline.quantize(
            prepared,
            images,
            method=how.method,
            **how.options,
            kept=how.kept,
            refine=how.refine,
            min_cosine=how.min_cosine,
            progress=progressing,
            dump=dump,
        )
        return Calibrated(prepared, annotated, layers, how, {})

    if not how.is_open:
        return run(how, 0.0, 1.0, dump)
    best = run(how, 0.0, _SHARE, dump)
    if how.widened(best.layers):
        return best
    progress(_SHARE, f"simulating {how.method}")
    worst = _worst_cosine(module, best, to_compare)
    if worst >= _CLOSE:
        return best
    other = run(replace(how, method=PLAINEST, min_cosine=0.0), _SHARE, 1.0)
    needed = 1 - _CLEARLY * (1 - worst)
    cosines = {how.method: worst, PLAINEST: _worst_cosine(module, other, to_compare, needed)}
    if cosines[PLAINEST] > needed:
        best = other
        pipeline.write_phase(other.prepared, dump, "2-prepared")
        pipeline.write_phase(other.annotated, dump, "3-annotated")
    return replace(best, compared=cosines)


def _worst_cosine(
    module: tvm.IRModule, found: Calibrated, samples: dict[str, np.ndarray], needed: float = -1.0
) -> float:
    """The lowest cosine of a part of an output; of the samples seen until it is clear that `needed` is out of reach.

    1 where no output depends on the samples.
    """
    count = len(next(iter(samples.values())))
    starts = range(0, count, _AT_ONCE)
    batches = ({name: x[start : start + _AT_ONCE] for name, x in samples.items()} for start in starts)
    how = found.how
    results = passes.compare_outputs(
        found.prepared, found.annotated, batches, **how.options, kept=how.kept, imported=module
    )
    seen, sums = 0, list[float]()
    for start, pairs in zip(starts, results, strict=True):
        images = min(_AT_ONCE, count - start)
        cosines = passes.part_cosines(found.prepared, [pairs])
        sums = [s + images * cosine for s, cosine in zip(sums or [0.0] * len(cosines), cosines, strict=True)]
        seen += images
        if min(sums, default=float(seen)) + count - seen < needed * count:  # no cosine is above 1
            break
    return min(sums, default=float(seen)) / seen
