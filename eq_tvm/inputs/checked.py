"""What is given to a network in Python, checked before any of its memory is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, reason
from eq_tvm.inputs.input_form import network_input
from eq_tvm.inputs.number_kind import number_kind
from eq_tvm.preprocess import Preprocess


def check_inputs(
    inputs: np.ndarray | Mapping[str, np.ndarray], expected: tuple[TensorInfo, ...], preprocess: Preprocess | None
) -> list[np.ndarray]:
    """The network's inputs in its order, with the batch axis, from what `Model.run` takes."""
    if not isinstance(inputs, Mapping):
        if len(expected) != 1:
            names = ", ".join(info.name for info in expected)
            raise UserError(f"the network has {len(expected)} inputs ({names}): pass each by its name")
        inputs = {expected[0].name: inputs}
    wanted = [info.name for info in expected]
    if set(inputs) != set(wanted):
        given = ", ".join(map(str, inputs)) or "none"
        raise UserError(f"the network's inputs are {', '.join(wanted)}, not {given}")
    return [
        network_input(as_array(inputs[i.name], f"input {i.name}"), i, preprocess, f"input {i.name}") for i in expected
    ]


def check_arrays(arrays: Sequence[np.ndarray], expected: tuple[TensorInfo, ...]) -> list[np.ndarray]:
    """The arrays, where each is an input of the network as it is; NaN and infinity may be in them."""
    if not isinstance(arrays, list | tuple) or len(arrays) != len(expected):
        given = f"{len(arrays)} of them" if isinstance(arrays, list | tuple) else type(arrays).__name__
        raise UserError(f"the network takes a list of {len(expected)} arrays, not {given}")
    checked = []
    for array, info in zip(arrays, expected, strict=True):
        array = as_array(array, f"input {info.name}")
        if array.shape != info.shape or array.dtype != info.dtype:
            raise UserError(
                f"input {info.name} is {array.dtype} {array.shape}, but the network takes {info.dtype} {info.shape}"
            )
        checked.append(np.ascontiguousarray(array).reshape(info.shape))  # which makes a number an array
    return checked


def as_array(value: object, name: str) -> np.ndarray:
    """An array of numbers, in this machine's order of bytes, of what NumPy makes one of.

    Raises
    ------
    UserError
        It makes none, or one of something else than numbers, or some of its elements are masked.
    """
    if np.ma.is_masked(value):
        raise UserError(f"{name} has masked elements: give them numbers, by .filled(...)")
    try:
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    except Exception as e:  # whatever an object's own conversion raises
        raise UserError(f"{name} can't become an array: {reason(e)}") from e
    if number_kind(array.dtype) not in "biufc":
        raise UserError(f"{name} is {array.dtype}, but the network takes numbers")
    return array
