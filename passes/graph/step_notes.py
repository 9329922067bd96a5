"""What steps of preparation changed for each layer, for people: a note on the canonical module."""

import json
from collections.abc import Mapping

import tvm

_ATTRIBUTE = "step_notes"

Figures = tuple[float, float]  # before the step, and after it


def with_notes(mod: tvm.IRModule, step: str, figures: Mapping[str, Figures]) -> tvm.IRModule:
    """The module with a figure of a step for each of these layers, by their names, beside those of other steps."""
    notes = step_notes(mod)
    for layer, each in figures.items():
        notes.setdefault(layer, {})[step] = (significant(each[0]), significant(each[1]))
    noted = tvm.IRModule(mod.functions, attrs=mod.attrs)
    noted["main"] = mod["main"].with_attr(_ATTRIBUTE, json.dumps(notes))
    return noted


def without_notes(mod: tvm.IRModule) -> tvm.IRModule:
    """The module without any of them."""
    if not step_notes(mod):
        return mod
    bare = tvm.IRModule(mod.functions, attrs=mod.attrs)
    bare["main"] = mod["main"].without_attr(_ATTRIBUTE)
    return bare


def step_notes(mod: tvm.IRModule) -> dict[str, dict[str, Figures]]:
    """By layer and step, what `with_notes` noted."""
    noted = (mod["main"].attrs or {}).get(_ATTRIBUTE)
    layers = json.loads(str(noted)) if noted else {}
    return {layer: {step: (each[0], each[1]) for step, each in steps.items()} for layer, steps in layers.items()}


def significant(figure: float) -> float:
    """Four digits of it: more would differ between machines."""
    return float(f"{figure:.4g}")
