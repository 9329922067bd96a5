"""Which types layers get so that a network loses no more than it may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eq_tvm import passes, pipeline
from eq_tvm.errors import UserError, counted
from eq_tvm.passes import Progress, part_of
from eq_tvm.quantizing.by_cost import ByCost
from eq_tvm.quantizing.images import HeldOut, images_to_analyze
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.scores import Scores

if TYPE_CHECKING:
    import numpy as np
    import tvm

_RANKING = 16  # images that layers are ranked on
_HELPS = 0.5  # INT8 must leave less of a layer's error at INT7, else the layer is kept float


@dataclass(frozen=True)
class Step:
    """A layer that is kept wider, and why."""

    layer: str
    kind: str
    error: float
    reason: str


@dataclass(frozen=True)
class Kept:
    """What was found.

    Attributes
    ----------
    annotated : tvm.IRModule
    layers : list of LayerRecord
        The calibration's record.
    kept : list of dict
        `layer`, `kind` ("int8" or "float") and `reason` of those kept wider.
    report : dict
        `bound` and `drop` in points of `measure` ("top-1" or "agreement"); `drop_before`, with nothing kept but what
        was asked for; in percent `agreement` and `float32`, the float network's measure; `images`, how many measured.
    """

    annotated: tvm.IRModule
    layers: list[passes.LayerRecord]
    kept: list[dict[str, str]]
    report: dict[str, Any]


def keep_worst(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    how: Quantization,
    bound: float,
    progress: Progress,
) -> Kept:
    """Calibrate with as few layers kept wider as the bound on the loss allows.

    All layers are ranked by the error that they alone cause at the network's output: INT7 ones once as such and once
    at INT8. The worst step comes first, a layer's to INT8, or to float where INT8 hardly helps. How many steps to take
    is searched for, by doubling and bisection; each trial calibrates anew and measures the loss.

    Parameters
    ----------
    module : tvm.IRModule
        Canonical.
    images : dict
        As for `pipeline.calibrate`.
    held_out : HeldOut
        Images to measure the loss on, in the float and in the simulated quantized network: of top-1 where they have
        labels and the network one vector of scores, else of 100 % agreement.
    how : Quantization
        Its `kept` are kept in any case.
    bound : float
        In points (percent of the images).
    progress : callable (done 0..1, message)

    Raises
    ------
    UserError
        No images are left to measure with, or all steps together don't reach the bound.
    """
    trials = _Trials(module, images, _measured_on(held_out), how, progress)
    first = trials.run(())
    if first.drop <= bound:
        return trials.result(first, (), bound)
    steps = _steps(trials, how)
    count, failed = 1, 0
    while (trial := trials.run(steps[:count])).drop > bound:
        if count >= len(steps):
            raise UserError(
                f"--max-drop {bound:g} can't be reached: with {counted(len(steps), 'step')} to wider layers, all that "
                f"there are, the loss is still {trial.drop:.2f} points"
            )
        failed, count = count, min(2 * count, len(steps))
    while count - failed > 1:
        middle = (count + failed) // 2
        if (other := trials.run(steps[:middle])).drop > bound:
            failed = middle
        else:
            count, trial = middle, other
    return trials.result(trial, steps[:count], bound)


def fastest(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    front: Sequence[ByCost],
    bound: float,
    progress: Progress,
) -> tuple[ByCost, Kept]:
    """Of assignments of types, each more exact than the one before, the first that is within the bound.

    Found by bisection, as if the loss fell with the error. Where INT8 everywhere, the last one, is not within it, that
    with layers kept wider. Parameters are those of `keep_worst`.
    """
    *_, last = front
    whole = keep_worst(module, images, held_out, last.how, bound, part_of(progress, 0.0, 0.4))
    if whole.report["drop"] != whole.report["drop_before"]:  # layers had to be kept wider
        return last, whole
    progress = part_of(progress, 0.4, 1.0)
    best, low, high = whole, 0, len(front) - 1
    while low < high:
        middle = (low + high) // 2
        how = front[middle].how
        trials = _Trials(module, images, _measured_on(held_out), how, progress)
        trial = trials.run(())
        if trial.drop <= bound:
            best, high = trials.result(trial, (), bound), middle
        else:
            low = middle + 1
    return front[high], best


def _measured_on(held_out: HeldOut | None) -> HeldOut:
    if not held_out:
        raise UserError(
            "--max-drop measures on calibration images that find no scales, and there are none left: pass more images, "
            "and not noise, or find scales on fewer of them, by --images N"
        )
    return held_out


@dataclass(frozen=True)
class _Trial:
    annotated: tvm.IRModule
    layers: list[passes.LayerRecord]
    drop: float
    measured: dict[str, Any]


class _Trials:
    """Calibrates and measures with some layers kept wider."""

    def __init__(
        self,
        module: tvm.IRModule,
        images: dict[str, np.ndarray],
        held_out: HeldOut,
        how: Quantization,
        progress: Progress,
    ):
        self.module, self.images, self.held_out, self.how, self.progress = module, images, held_out, how, progress
        preparing = passes.part_of(progress, 0.0, 0.2)  # as the first trial has it
        self.prepared = pipeline.prepare(module, images, method=how.method, **how.options, progress=preparing)
        self.done: list[_Trial] = []

    def run(self, steps: tuple[Step, ...]) -> _Trial:
        """One trial."""
        kept = self._kept(steps)
        annotated, layers = self._calibrate(self.how.options, kept)
        measured = self._measure(annotated, kept)
        self.done.append(_Trial(annotated, layers, measured["drop"], measured))
        return self.done[-1]

    def errors(self, scheme: str) -> dict[str, tuple[float, float]]:
        """Of each layer in a scheme: the error that it alone causes at the output, and its share."""
        options = self.how.options | {"scheme": scheme}
        kept = dict(self.how.kept)
        annotated, _ = self._calibrate(options, kept)
        images = images_to_analyze(self.held_out, self.images, _RANKING)
        analysis = passes.analyze_layers(self.prepared, annotated, images, **options, kept=kept)
        rows = analysis["layers"]
        return {row["layer"]: (row["output_error"], row["share"]) for row in rows if row["layer"] not in kept}

    def result(self, trial: _Trial, steps: tuple[Step, ...], bound: float) -> Kept:
        """What to keep of a trial that reached the bound."""
        reasons = {step.layer: step.reason for step in steps}
        kept = [
            {"layer": layer, "kind": kind, "reason": reasons.get(layer, self.how.reason(layer))}
            for layer, kind in self._kept(steps).items()
        ]
        report = {"bound": bound, "drop_before": self.done[0].drop, "images": self.held_out.images}
        return Kept(trial.annotated, trial.layers, kept, trial.measured | report)

    def _kept(self, steps: tuple[Step, ...]) -> dict[str, str]:
        return dict(self.how.kept) | {step.layer: step.kind for step in steps}

    def _calibrate(
        self, options: Mapping[str, str], kept: Mapping[str, str]
    ) -> tuple[tvm.IRModule, list[passes.LayerRecord]]:
        number = len(self.done) + 1
        return pipeline.quantize(
            self.prepared,
            self.images,
            method=self.how.method,
            **options,
            kept=kept,
            refine=self.how.refine,
            progress=lambda done, message: self.progress(1 - 0.8 ** (number - 1 + done), f"trial {number}: {message}"),
        )

    def _measure(self, annotated: tvm.IRModule, kept: Mapping[str, str]) -> dict[str, Any]:
        original, quantized, images = Scores(), Scores(), self.held_out.samples.images_each
        labels = iter(self.held_out.labels)
        batches = (dict(zip(self.images, arrays, strict=True)) for arrays in self.held_out.batches())
        compared = passes.compare_outputs(
            self.prepared, annotated, batches, **self.how.options, kept=kept, imported=self.module
        )
        for pairs in compared:
            for i in range(len(pairs[0][0])):
                given = next(labels)
                expected, results = ([pair[k][i] for pair in pairs] for k in (0, 1))
                original.add(expected, given, None, images)
                quantized.add(results, given, expected, images)
        if quantized.agreement is None:
            raise UserError("--max-drop counts decisions that change, but the network's first output makes none")
        agreement = 100 * quantized.agreement
        measure, float32 = "agreement", 100.0
        drop = 100 - agreement
        if quantized.top1 is not None and original.top1 is not None:
            measure, float32 = "top-1", 100 * original.top1
            drop = round(float32 - 100 * quantized.top1, 6)
        return {"measure": measure, "drop": drop, "agreement": agreement, "float32": float32}


def _steps(trials: _Trials, how: Quantization) -> tuple[Step, ...]:
    """All steps to wider layers, the most useful one first."""
    narrow = trials.errors(how.scheme)
    wide = trials.errors("int8") if how.scheme != "int8" else {}
    steps = []
    for layer, (error, share) in narrow.items():
        reason = f"{share:.0%} of the output's error at {how.scheme.upper()}"
        if layer in wide and wide[layer][0] < _HELPS * error:
            steps.append(Step(layer, "int8", error, reason))
            steps.append(Step(layer, "float", wide[layer][0], f"{reason}, {wide[layer][1]:.0%} at INT8"))
        else:
            steps.append(Step(layer, "float", error, reason))
    return tuple(sorted(steps, key=lambda step: -step.error))
