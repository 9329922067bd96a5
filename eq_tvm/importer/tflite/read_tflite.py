"""TFLite file -> ONNX model."""

from __future__ import annotations

import struct
from pathlib import Path

import onnx
from onnx.checker import ValidationError
from onnx.defs import SchemaError
from onnx.shape_inference import InferenceError

from eq_tvm.errors import UserError
from eq_tvm.importer.names import one_line
from eq_tvm.importer.tflite.call import Call
from eq_tvm.importer.tflite.cut import without_postprocessing
from eq_tvm.importer.tflite.dilation import fold_dilation
from eq_tvm.importer.tflite.flatbuffer import Network, Tensor, parse
from eq_tvm.importer.tflite.graph import Graph
from eq_tvm.importer.tflite.operators import OPERATORS
from eq_tvm.importer.tflite.quantization import is_quantized
from eq_tvm.importer.tflite.state import State


def read_tflite(path: Path) -> onnx.ModelProto:
    """Read a network.

    Parameters
    ----------
    path : path of the TFLite file

    Returns
    -------
    onnx.ModelProto
        Inputs and outputs have the file's names, shapes (channels last; a dynamic batch is 1) and dtypes: those of a
        quantized network are often uint8 or int8. What is quantized has QuantizeLinear and DequantizeLinear with the
        file's scales. Custom operators that only compute outputs, such as the postprocessing of detectors, are left
        out: what they read are the outputs then, in real numbers, and ``doc_string`` says so.

    Raises
    ------
    UserError
        A file that can't be read or is none, the package ``tflite`` is missing, an operator that has no converter, or
        one in a form that its converter does not know.
    """
    path = Path(path)
    whole = parse(path)
    network, note = without_postprocessing(whole)
    network = fold_dilation(network)
    _check(path, network)
    state = State(path, network, Graph())
    tensors = network.tensors
    state.graph.reserve(tensors[index].name for index in network.outputs)
    for index in network.inputs:
        tensor = tensors[index]
        assert tensor.dtype is not None
        state.forms[index, is_quantized(tensor), False] = state.graph.input(tensor.name, tensor.shape, tensor.dtype)
    for operator in network.operators:
        _convert(Call(state, operator))
    results = [(tensors[index].name, state.value(index, integer=index in whole.outputs)) for index in network.outputs]
    return state.graph.model(results, note)


def _convert(call: Call) -> None:
    try:
        OPERATORS[call.kind](call)
    except _INVALID as error:
        call.refuse("can't be read", f"{_CUT} ({one_line(error)})")


def _check(path: Path, network: Network) -> None:
    """Refuse what no converter is asked about."""
    for operator in network.operators:
        if not operator.outputs or min(operator.outputs) < 0:
            raise UserError(f"{path}: {operator.kind} gives nothing; the file is not valid")
        results = [network.tensors[index] for index in operator.outputs]
        what = f"{operator.kind} (tensor {results[0].name!r})"
        if operator.custom:
            raise UserError(f"{path}: {what} is a custom operator; only builtin ones can be read: {_CUT}")
        if operator.kind not in OPERATORS:
            raise UserError(f"{path}: can't read the operator {what}: {_CUT}")
        for tensor in results:
            _check_tensor(path, tensor, what)
    for index in network.inputs:
        tensor = network.tensors[index]
        _check_tensor(path, tensor, f"the input {tensor.name!r}")
        open_axes = [axis for axis in tensor.dynamic if axis]
        if open_axes:
            extents = ", ".join("?" if axis in tensor.dynamic else str(each) for axis, each in enumerate(tensor.shape))
            raise UserError(
                f"{path}: input {tensor.name!r} has the dynamic shape ({extents}); convert the network with a fixed one"
            )


def _check_tensor(path: Path, tensor: Tensor, what: str) -> None:
    if tensor.dtype is None:
        raise UserError(f"{path}: {what} is {tensor.kind.lower()}; only numbers and truth values can be read: {_CUT}")
    if tensor.quantization is None:
        return
    if tensor.kind in ("INT16", "UINT16"):
        raise UserError(f"{path}: {what} has activations of 16 bits; convert the network with int8 activations")
    if is_quantized(tensor) and tensor.quantization.scale.size > 1:
        raise UserError(f"{path}: {what} has activations with a scale for each channel; convert it with one scale")


_CUT = "cut the network before it"
# What converters, the flatbuffer and onnx raise where a file contradicts itself
_INVALID = (
    InferenceError,
    SchemaError,
    ValidationError,
    struct.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)
