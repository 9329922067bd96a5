"""The scheme `auto`: of each layer the most exact type that costs no time on the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm import passes, pipeline
from eq_tvm.options.declared import MIN_COSINES
from eq_tvm.passes.mixed import knapsack
from eq_tvm.passes.mixed.costs import Costs, costs
from eq_tvm.passes.mixed.sensitivity import mean_square_error, output_errors
from eq_tvm.passes.mixed.units import units
from eq_tvm.quantizing.quantization import HeldOut, Quantization, images_to_analyze

if TYPE_CHECKING:
    import tvm

    from eq_tvm.targets import TargetSpec

NARROW, WIDE = "int7", "int8"  # what there is to choose from
SLACK = 1.01  # times the cycles of the narrow type everywhere: what may be spent for exactness
_IMAGES = 32  # to measure errors on
_SHOWN = 40  # assignments of the front that are recorded


@dataclass(frozen=True)
class ByCost:
    """Types by cost.

    Attributes
    ----------
    how : Quantization
        With a scheme, and with layers kept at another one.
    record : dict
        `cycles`, estimated, by type and of what was `chosen`; `front`: cycles and predicted errors of the assignments
        that no other one beats; `error`, the predicted one of the one that was chosen. Errors are mean squares of the
        outputs' errors in parts of the outputs' mean squares. The last two only where something had to be weighed.
    """

    how: Quantization
    record: dict[str, Any]


def by_cost(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    how: Quantization,
    spec: TargetSpec,
    optimize: str,
    progress: passes.Progress,
    choose: Callable[..., Any] | None = None,
) -> ByCost:
    """Decide types, where they are to be decided by cost.

    If the whole network takes at most 1 % longer at INT8 than at INT7, it is INT8. Otherwise each unit of layers has a
    price, the cycles that INT8 costs more, and a value: its share in what INT8 everywhere saves of the error at the
    network's outputs, by the errors that the layers cause alone at both. The best that 1 % buys is a knapsack
    (`passes.mixed.knapsack`).

    Parameters
    ----------
    module : tvm.IRModule
        Canonical.
    images, held_out
        As `read_images` gives them, by the names of inputs.
    how : Quantization
    spec : TargetSpec
    optimize : {"speed", "size"}
    progress : callable (done 0..1, message)
    choose : callable, optional
        See `LowerToInteger`.
    """
    progress(0.0, f"estimating what types cost on {spec.name}")
    with spec.tvm_target():
        found = costs(
            module,
            images,
            (NARROW, WIDE),
            spec.machine,
            activation_range=how.activation_range,
            kept=how.kept,
            choose=choose,
            optimize=optimize,
        )
    totals = {scheme: found.total(scheme) for scheme in (NARROW, WIDE)}
    if totals[WIDE] <= SLACK * totals[NARROW]:
        return ByCost(_decided(how, WIDE), {"cycles": totals | {"chosen": totals[WIDE]}})
    open_units = [unit for unit in units(module, how.activation_range) if not set(unit) & set(how.kept)]
    weighed = {
        scheme: _weighed(module, images, held_out, _decided(how, scheme), passes.part_of(progress, start, start + 0.5))
        for scheme, start in ((NARROW, 0.0), (WIDE, 0.5))
    }
    least = weighed[WIDE].error
    alone = {
        layer: max(0.0, error - weighed[WIDE].layers.get(layer, 0.0)) for layer, error in weighed[NARROW].layers.items()
    }
    saved = [sum(alone.get(layer, 0.0) for layer in unit) for unit in open_units]
    saved = [max(0.0, weighed[NARROW].error - least) * each / max(sum(saved), 1e-30) for each in saved]
    choices = [
        [(_cycles(found, unit, NARROW), lost), (_cycles(found, unit, WIDE), 0.0)]
        for unit, lost in zip(open_units, saved, strict=True)
    ]
    fixed = found.others + _cycles(found, set(found.layers).difference(*open_units), NARROW)
    front = knapsack.front(choices)
    taken = knapsack.within(front, SLACK * totals[NARROW] - fixed)
    wide = [layer for unit, k in zip(open_units, taken.chosen, strict=True) if k for layer in unit]
    shown = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, _SHOWN).round().astype(int))]
    return ByCost(
        replace(_decided(how, NARROW), kept=dict(how.kept) | dict.fromkeys(wide, WIDE), by_cost=tuple(wide)),
        {
            "cycles": totals | {"chosen": fixed + taken.cycles},
            "error": least + taken.error,
            "front": [[fixed + each.cycles, least + each.error] for each in shown],
        },
    )


def _decided(how: Quantization, scheme: str) -> Quantization:
    asked = how.min_cosine if how.min_cosine is not None else MIN_COSINES.get(scheme, 0.0)
    return replace(how, scheme=scheme, min_cosine=asked)


def _cycles(found: Costs, layers: Any, scheme: str) -> float:
    return sum(found.layers[layer][scheme] for layer in layers if layer in found.layers)


@dataclass(frozen=True)
class _Weighed:
    """The error of the network's outputs, in parts of their mean square, and those by each layer alone."""

    error: float
    layers: dict[str, float]


def _weighed(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    how: Quantization,
    progress: passes.Progress,
) -> _Weighed:
    options = {"method": how.method, **how.options}
    calibrating, weighing = passes.part_of(progress, 0.0, 0.7), passes.part_of(progress, 0.7, 1.0)
    prepared = pipeline.prepare(module, images, progress=calibrating, **options)
    annotated, _ = pipeline.quantize(prepared, images, kept=how.kept, progress=calibrating, **options)
    samples = images_to_analyze(held_out, images, _IMAGES)
    pairs = passes.compare_outputs(prepared, annotated, [samples], kept=how.kept, imported=module, **how.options)
    errors = [mean_square_error(expected, result) for each in pairs for expected, result in each]
    layers = output_errors(prepared, annotated, samples, kept=how.kept, progress=weighing, **how.options)
    return _Weighed(float(np.mean(errors)), layers)
