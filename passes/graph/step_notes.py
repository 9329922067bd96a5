"""What steps of preparation changed for each layer, for people: a note on the canonical module."""

from collections.abc import Mapping

import tvm

from .notes import note, with_note

_NOTE = "steps"

Figures = tuple[float, float]  # before the step, and after it


def with_step(mod: tvm.IRModule, step: str, figures: Mapping[str, Figures]) -> tvm.IRModule:
    """The module with a figure of a step for each of these layers, by their names, beside those of other steps."""
    notes = step_notes(mod)
    for layer, (before, after) in figures.items():
        notes.setdefault(layer, {})[step] = (significant(before), significant(after))
    return with_note(mod, _NOTE, notes)


def step_notes(mod: tvm.IRModule) -> dict[str, dict[str, Figures]]:
    """By layer and step, what `with_step` noted."""
    layers = note(mod, _NOTE).items()
    return {layer: {step: (before, after) for step, (before, after) in steps.items()} for layer, steps in layers}


def significant(figure: float) -> float:
    """Four digits of it: more would differ between machines."""
    return float(f"{figure:.4g}")
