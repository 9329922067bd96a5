"""What a bundle remembers of a run on noise, so that the machine that it is copied to can tell whether all is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo, results_by_name
from eq_tvm.building.closeness import TOLERANCE
from eq_tvm.building.sha256 import sha256
from eq_tvm.errors import UserError
from eq_tvm.inputs.random_inputs import random_inputs

_VALUES = 32  # of each output that are remembered, evenly spaced


class Runs(Protocol):
    """What runs a network: a `Model`, or another machine."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def call(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """As `Model.call`."""


def remember(model: Runs, arrays: list[np.ndarray] | None = None) -> dict[str, Any]:
    """The SHA-256 of the inputs, by default noise, and by name those of the outputs, with some `values`."""
    arrays = random_inputs(model.inputs) if arrays is None else arrays
    results = results_by_name(model.outputs, model.call(arrays))
    return {
        "inputs": sha256(*arrays),
        "outputs": {
            name: {"sha256": sha256(result), "values": _some(result).tolist()} for name, result in results.items()
        },
    }


def compare(remembered: Mapping[str, Any], model: Runs, arrays: list[np.ndarray] | None = None) -> bool:
    """Whether a run gives what is remembered to the bit; False where it is close, as float operators may be.

    Raises
    ------
    UserError
        It is not close, or there is another noise here.
    """
    here = remember(model, arrays)
    if here["inputs"] != remembered["inputs"]:
        raise UserError("another release of NumPy makes another noise: its results can't be compared here")
    equal = True
    for name, theirs in remembered["outputs"].items():
        ours = here["outputs"][name]
        equal &= ours["sha256"] == theirs["sha256"]
        if ours["sha256"] != theirs["sha256"] and not _is_close(ours["values"], theirs["values"]):
            raise UserError(f"output {name!r} is {ours['values'][:3]}..., where it was {theirs['values'][:3]}...")
    return equal


def _is_close(ours: list[float], theirs: list[float]) -> bool:
    largest = max(map(abs, theirs), default=0.0)
    return len(ours) == len(theirs) and bool(
        np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * largest, equal_nan=True)
    )


def _some(result: np.ndarray) -> np.ndarray:
    flat = result.reshape(-1)
    return flat[np.linspace(0, max(flat.size - 1, 0), min(_VALUES, flat.size)).round().astype(int)]
