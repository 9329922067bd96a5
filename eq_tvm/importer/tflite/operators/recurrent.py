"""Recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.tflite.call import Call, Converter

# Operands, by gate: input, forget, cell, output
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES = (1, 2, 3, 4), (5, 6, 7, 8), (12, 13, 14, 15)
_OPTIONAL = {9: "peepholes", 10: "peepholes", 11: "peepholes", 16: "a projection", 20: "layer normalization"}
_STATE, _CELL = 18, 19
_GATES = (0, 3, 1, 2)  # in ONNX's order: input, output, forget, cell
_TANH = 4  # of ActivationFunctionType
_CLIP = 10.0  # of cells, that TensorFlow's converter writes for the sake of int8, though the layer had none


def _lstm(call: Call) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM, from states of zero, in real numbers: of an int8 one, the weights and both ends.

    The converter's bound for cells is left out, which binds after 10 steps at least of gates that are fully open.
    """
    for position, what in _OPTIONAL.items():
        if call.has(position):
            call.refuse(f"has {what}", "only plain LSTM layers can be read: cut the network before it")
    if not all(map(call.has, (*_INPUT_WEIGHTS, *_RECURRENT_WEIGHTS))):
        call.refuse("has coupled gates", "only plain LSTM layers can be read: cut the network before it")
    steps = call.operand(0).shape[0 if call.option("TimeMajor") else 1]
    clip = call.option("CellClip")
    if (
        call.option("FusedActivationFunction", _TANH) != _TANH
        or call.option("ProjClip")
        or 0 < clip < min(_CLIP, steps)
    ):
        call.refuse("has bounds or another function than tanh", "convert the network without these")
    weights, recurrent = (_gates(call, positions) for positions in (_INPUT_WEIGHTS, _RECURRENT_WEIGHTS))
    hidden = recurrent.shape[-1]
    bias = np.concatenate([_gates(call, _BIASES).reshape(-1), np.zeros(4 * hidden, np.float32)])
    states: list[Any] = []
    if call.is_given(_STATE) or call.is_given(_CELL):
        states = [None, *(call.emit("Unsqueeze", call.value(each), np.array([0])) for each in (_STATE, _CELL))]
    data, batch_first = call.value(0), not call.option("TimeMajor")
    if batch_first:
        data = call.emit("Transpose", data, perm=(1, 0, 2))
    shape = (1, 4 * hidden, -1)
    result = call.emit(
        "LSTM", data, weights.reshape(shape), recurrent.reshape(shape), bias[None], *states, hidden_size=hidden
    )
    result = call.emit("Squeeze", result, np.array([1]))
    call.give(call.emit("Transpose", result, perm=(1, 0, 2)) if batch_first else result, activates=False)


RECURRENT: dict[str, Converter] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm}


def _gates(call: Call, positions: tuple[int, ...]) -> np.ndarray:
    """Real weights of all gates (4, ...), in ONNX's order."""
    return np.stack([call.known(positions[gate]) for gate in _GATES])
