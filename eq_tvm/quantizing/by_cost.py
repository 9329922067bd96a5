"""The scheme `auto`: of each layer the most exact type that the time allows on the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm import passes, pipeline
from eq_tvm.errors import UserError
from eq_tvm.methods import PLAINEST
from eq_tvm.options.declared import MIN_COSINES
from eq_tvm.passes.mixed import knapsack
from eq_tvm.passes.mixed.costs import Costs, costs
from eq_tvm.passes.mixed.greedy import greedy
from eq_tvm.passes.mixed.layer_types import NARROW, TYPES, WIDE
from eq_tvm.passes.mixed.units import units
from eq_tvm.quantizing.goal import Goal
from eq_tvm.quantizing.images import HeldOut
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.quantizing.weighing import Weighed, weigh

if TYPE_CHECKING:
    import tvm

    from eq_tvm.targets import TargetSpec

_SHOWN = 40  # assignments of the front that are recorded


@dataclass(frozen=True)
class ByCost:
    """Types by cost.

    Attributes
    ----------
    how : Quantization
        With a scheme, and with layers kept at another one.
    record : dict
        `cycles`, estimated, of all layers at each type and of what was `chosen`. Where something had to be weighed also
        `front`: cycles and predicted errors of the assignments that no other one beats; `error`, the predicted one of
        what was chosen; `layers`: of each its `type`, `cycles` and what it adds to the `error`. Errors are mean squares
        of the outputs' errors in parts of the outputs' mean squares.
    front : list of ByCost
        The assignments that no other one beats, the fastest first.
    """

    how: Quantization
    record: dict[str, Any]
    front: list[ByCost]


def by_cost(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    how: Quantization,
    spec: TargetSpec,
    optimize: str,
    goal: Goal,
    progress: passes.Progress,
    choose: Callable[..., Any] | None = None,
) -> ByCost:
    """Decide types, where they are to be decided by cost.

    If INT8 everywhere is within the budget, that is it. Otherwise each unit of layers has choices: their prices, in
    cycles, and what they lose, its share in the error at the network's outputs, by the errors that its layers cause
    alone. The best that the budget buys is a knapsack (`passes.mixed.knapsack`).

    Parameters
    ----------
    module : tvm.IRModule
        Canonical.
    images, held_out
        As `read_images` gives them, by the names of inputs.
    how : Quantization
    spec : TargetSpec
    optimize : {"speed", "size"}
    goal : Goal
    progress : callable (done 0..1, message)
    choose : callable, optional
        See `LowerToInteger`.

    Raises
    ------
    UserError
        The goal is out of reach.
    """
    progress(0.0, f"estimating what types cost on {spec.name}")
    with spec.tvm_target():
        found = costs(
            module,
            images,
            tuple(TYPES),
            spec.machine,
            activation_range=how.activation_range,
            kept=how.kept,
            choose=choose,
            optimize=optimize,
            for_rows=how.for_rows,
        )
    totals = {scheme: found.total(scheme) for scheme in TYPES}
    if goal.time:
        goal = replace(goal, frequency=totals[NARROW] / goal.time(_plain(module, images, how)))
    budget = goal.cycles(totals)
    if totals[WIDE] <= (goal.least(totals) if goal.is_open else budget):
        everywhere = ByCost(_everywhere(how), {"cycles": totals | {"chosen": totals[WIDE]}}, [])
        return replace(everywhere, front=[everywhere])
    if how.is_random and goal == Goal():  # nothing to weigh by
        return ByCost(replace(how, scheme=NARROW), {"cycles": totals | {"chosen": totals[NARROW]}}, [])
    decision = decide(module, images, held_out, how, found, goal, spec.name, progress)
    return decision.within(how, budget, goal, progress)


def decide(
    module: tvm.IRModule,
    images: dict[str, np.ndarray],
    held_out: HeldOut | None,
    how: Quantization,
    found: Costs,
    goal: Goal,
    target: str,
    progress: passes.Progress,
) -> Decision:
    """Weigh what layers lose: what `by_cost` does where INT8 everywhere is too slow."""
    totals = {scheme: found.total(scheme) for scheme in TYPES}
    open_units = [unit for unit in units(module, how.activation_range) if not set(unit) & set(how.kept)]
    fixed = found.others + _cycles(found, set(found.layers).difference(*open_units), NARROW)
    types = goal.types(totals)
    least = fixed + sum(min(_cycles(found, unit, scheme) for scheme in types) for unit in open_units)
    if goal.cycles(totals) < least * (1 - 1e-9) and not goal.is_open:
        raise UserError(goal.out_of_reach(least, totals, target))
    weighed = weigh(module, images, held_out, how, types, goal.sensitivity, progress)
    return Decision(found, open_units, fixed, types, weighed, totals)


@dataclass(frozen=True)
class Decision:
    """What is known when types are chosen.

    Attributes
    ----------
    found : Costs
    units : sequence of tuple of str
        Layers that must have one type.
    fixed : float
        Cycles of everything else.
    types : sequence of str
        To choose from.
    weighed : Weighed
    totals : mapping of str to float
        Cycles of each type everywhere.
    measured : (float, float), optional
        Of an assignment the sum of its units' losses, and what was measured that it loses.
    """

    found: Costs
    units: Sequence[tuple[str, ...]]
    fixed: float
    types: Sequence[str]
    weighed: Weighed
    totals: Mapping[str, float]
    measured: tuple[float, float] | None = None

    @cached_property
    def choices(self) -> list[list[knapsack.Choice]]:
        """Of each unit the cycles of each type, and what it adds to the error."""
        return [
            [(_cycles(self.found, unit, scheme), self._loss(unit, scheme)) for scheme in self.types]
            for unit in self.units
        ]

    @cached_property
    def _scale(self) -> float:
        """What turns losses of layers into shares of the outputs' error."""
        narrow = sum(self.weighed.lost(unit, NARROW) for unit in self.units)
        return self._gap / max(narrow, 1e-30)

    @property
    def _gap(self) -> float:
        return max(0.0, self.weighed.errors[NARROW] - self.weighed.errors[WIDE])

    def _loss(self, layers: Sequence[str], scheme: str) -> float:
        return self._scale * self.weighed.lost(layers, scheme)

    def within(self, how: Quantization, budget: float, goal: Goal, progress: passes.Progress) -> ByCost:
        """The best that a budget of cycles buys."""
        front = knapsack.front(self.choices)
        taken = knapsack.within(front, budget - self.fixed)
        if goal.search == "greedy":
            taken = self.greedily(budget, progress)
        shown = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, _SHOWN).round().astype(int))]
        verified = self.verified(taken)
        record = {"front": [[self.fixed + each.cycles, verified.error(each)] for each in shown]}
        return replace(verified.of(how, taken, record), front=[verified.of(how, each, record) for each in shown])

    def verified(self, assignment: knapsack.Assignment) -> Decision:
        """The same with the error of an assignment measured, which those of others are then near to."""
        network = self.weighed.mixed()
        types = {layer: scheme for unit, scheme in self._chosen(assignment) for layer in unit}
        wide, narrow, found = (network.error(WIDE, each) for each in ({}, dict.fromkeys(types, NARROW), types))
        lost = self._gap * (found - wide) / max(narrow - wide, 1e-30)
        return replace(self, measured=(assignment.error, max(lost, 0.0)))

    def _chosen(self, assignment: knapsack.Assignment) -> list[tuple[tuple[str, ...], str]]:
        """Each unit with its type."""
        return [(unit, self.types[k]) for unit, k in zip(self.units, assignment.chosen, strict=True)]

    def error(self, assignment: knapsack.Assignment) -> float:
        """The predicted one of the network's outputs."""
        return self.weighed.errors[WIDE] + self._together(assignment.error)

    def _together(self, losses: float) -> float:
        """What losses of units come to together: their sum, but for what is known of assignments as a whole.

        Those that are chosen lose more than their sum, as units are chosen for errors that were found small. The
        order of assignments stays as it is.
        """
        gap, (sum_of, lost) = self._gap, self.measured or (0.0, 0.0)
        if not sum_of:
            return losses
        points = [(0.0, 0.0), (sum_of, lost)]
        if (sum_of < gap) == (lost < gap):  # or something narrower makes up more than that
            points = sorted([*points, (gap, gap)])
        at, of = (list(each) for each in zip(*points, strict=True))
        beyond = max(0.0, losses - at[-1]) * of[-1] / at[-1]
        return float(np.interp(losses, at, of)) + beyond

    def of(self, how: Quantization, assignment: knapsack.Assignment, record: Mapping[str, Any]) -> ByCost:
        """An assignment with what is to be said of it, besides what is recorded of all."""
        share = self._together(assignment.error) / assignment.error if assignment.error > 0 else 1.0
        layers: list[dict[str, Any]] = [
            {
                "layer": layer,
                "type": scheme,
                "cycles": self.found.layers.get(layer, {}).get(scheme, 0.0),
                "error": self._loss((layer,), scheme) * share,
            }
            for unit, scheme in self._chosen(assignment)
            for layer in unit
        ]
        cycles = dict(self.totals) | {"chosen": self.fixed + assignment.cycles}
        said = {"cycles": cycles, "error": self.error(assignment), **record, "layers": layers}
        return ByCost(_with_types(how, {each["layer"]: each["type"] for each in layers}), said, [])

    def greedily(self, budget: float, progress: passes.Progress) -> knapsack.Assignment:
        """The same by trying, in the order of the types from the most exact one on."""
        network = self.weighed.mixed()

        def error(numbers: Sequence[int]) -> float:
            chosen = zip(self.units, numbers, strict=True)
            return network.error(WIDE, {layer: self.types[-1 - k] for unit, k in chosen for layer in unit})

        cycles = [[price for price, _ in reversed(of_unit)] for of_unit in self.choices]
        found = greedy(cycles, error, budget - self.fixed, passes.part_of(progress, 0.5, 1.0))
        numbers = tuple(len(self.types) - 1 - k for k in found)
        picked = [of_unit[k] for of_unit, k in zip(self.choices, numbers, strict=True)]
        return knapsack.Assignment(numbers, sum(price for price, _ in picked), sum(lost for _, lost in picked))


def _plain(module: tvm.IRModule, images: dict[str, np.ndarray], how: Quantization) -> tvm.IRModule:
    """Quantized to INT7 in no time: its speed hardly depends on its scales."""
    few = {name: array[:2] for name, array in images.items()}
    options = {"method": PLAINEST, "scheme": NARROW, "activation_range": how.activation_range}
    return pipeline.calibrate(module, few, kept=how.kept, **options)[0]


def _everywhere(how: Quantization) -> Quantization:
    asked = how.min_cosine if how.min_cosine is not None else MIN_COSINES.get(WIDE, 0.0)
    return replace(how, scheme=WIDE, min_cosine=asked)


def _with_types(how: Quantization, types: Mapping[str, str]) -> Quantization:
    """Layers of the most frequent type have the scheme, others are kept at theirs."""
    if set(types.values()) == {WIDE}:
        return _everywhere(how)
    scheme = max((*TYPES,), key=[*types.values()].count)
    other = {layer: kind for layer, kind in types.items() if kind != scheme}
    return replace(
        how, scheme=scheme, min_cosine=how.min_cosine or 0.0, kept=dict(how.kept) | other, by_cost=tuple(other)
    )


def _cycles(found: Costs, layers: Any, scheme: str) -> float:
    return sum(found.layers[layer][scheme] for layer in layers if layer in found.layers)
