"""What a TFLite file says, in plain records: the flatbuffer is parsed by the package ``tflite``."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from eq_tvm.errors import UserError, reason
from eq_tvm.importer.tflite.sparse import densified


@dataclass(frozen=True)
class Quantization:
    """``real = scale * (integer - zero)``.

    Attributes
    ----------
    scale : numpy.ndarray (1,) or (C,) float32
    zero : numpy.ndarray int64, of the scale's shape
    axis : int
        Along which each of C slices has its own.
    """

    scale: np.ndarray
    zero: np.ndarray
    axis: int

    def __eq__(self, other: object) -> bool:
        """Whether both mean the same."""
        return (
            isinstance(other, Quantization)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
            and (self.scale.size == 1 or self.axis == other.axis)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the network.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Where the batch is dynamic, 1.
    dynamic : tuple of int
        Axes whose extent the file leaves open.
    kind : str
        The format's word: ``FLOAT32``, ``INT4``, ``STRING``, ...
    dtype : numpy.dtype or None
        In which elements are held; None of what holds no numbers.
    quantization : Quantization or None
        Of integers.
    data : numpy.ndarray or None
        The elements of a constant, dense.
    """

    name: str
    shape: tuple[int, ...]
    dynamic: tuple[int, ...]
    kind: str
    dtype: np.dtype[Any] | None
    quantization: Quantization | None
    data: np.ndarray | None


@dataclass(frozen=True)
class Operator:
    """A node.

    Attributes
    ----------
    kind : str
        The format's name of the operator: ``CONV_2D``. Of custom ones the name that the file has.
    custom : bool
    inputs, outputs : tuple of int
        Indices of tensors; -1 for an input that is left out.
    options : object or None
        The options' table of the package ``tflite``.
    pads : tuple of int
        Of a convolution around which dilation was folded: ONNX's ``pads``, instead of what its options say.
    dilations : tuple of int
        Likewise.
    """

    kind: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()

    def option(self, name: str, default: Any = 0) -> Any:
        """A field of the options by the accessor's name; the default where the operator has none of these."""
        return getattr(self.options, name)() if hasattr(self.options, name) else default


@dataclass(frozen=True)
class Network:
    """The main subgraph of a file: its tensors, its operators in the order of execution, and inputs and outputs."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse(path: Path) -> Network:
    """Read a TFLite file.

    Raises
    ------
    UserError
        A missing, empty or truncated file, or another one; the package ``tflite`` is missing.
    """
    try:
        import tflite
    except ImportError:
        raise UserError(f"{path}: reading TFLite files takes the package tflite: pip install tflite") from None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}") from None
    if not content:
        raise UserError(f"{path}: the file is empty")
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise UserError(f"{path}: not a TFLite file (the mark TFL3 is missing)")
    try:
        return _network(tflite, path, tflite.Model.GetRootAs(content, 0), content)
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError):
        raise UserError(f"{path}: not a valid TFLite file, or truncated") from None


_DTYPES: dict[str, Any] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "FLOAT64": np.float64,
    "BFLOAT16": ml_dtypes.bfloat16,
    "INT4": np.int8,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
}


def _network(tflite: ModuleType, path: Path, model: Any, content: bytes) -> Network:
    if not model.SubgraphsLength():
        raise UserError(f"{path}: the file has no network")
    graph = model.Subgraphs(0)
    kinds = _names(tflite.TensorType)
    tensors = [_tensor(model, graph.Tensors(i), i, kinds, content) for i in range(graph.TensorsLength())]
    operators = [_operator(tflite, model, graph.Operators(i)) for i in range(graph.OperatorsLength())]
    network = Network(
        tensors, operators, _indices(graph.Inputs, graph.InputsLength), _indices(graph.Outputs, graph.OutputsLength)
    )
    used = [*network.inputs, *network.outputs, *(i for each in operators for i in (*each.inputs, *each.outputs))]
    if not all(-1 <= index < len(tensors) for index in used):
        raise IndexError
    return network


def _names(enum: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _indices(get: Callable[[int], int], length: Callable[[], int]) -> tuple[int, ...]:
    return tuple(int(get(i)) for i in range(length()))


def _tensor(model: Any, record: Any, index: int, kinds: dict[int, str], content: bytes) -> Tensor:
    signature = _indices(record.ShapeSignature, record.ShapeSignatureLength)
    shape = tuple(max(extent, 1) if extent < 0 else extent for extent in _indices(record.Shape, record.ShapeLength))
    kind = kinds.get(record.Type(), f"type {record.Type()}")
    dtype = np.dtype(_DTYPES[kind]) if kind in _DTYPES else None
    return Tensor(
        name=(record.Name() or b"").decode(errors="replace") or f"tensor_{index}",
        shape=shape,
        dynamic=tuple(axis for axis, extent in enumerate(signature) if extent < 0),
        kind=kind,
        dtype=dtype,
        quantization=None if dtype is None or dtype.kind not in "iu" else _quantization(record.Quantization()),
        data=_constant(model.Buffers(record.Buffer()), record, shape, kind, content),
    )


def _quantization(record: Any) -> Quantization | None:
    if record is None or not record.ScaleLength():
        return None
    scale = np.asarray(record.ScaleAsNumpy(), np.float32)
    zero = np.asarray(record.ZeroPointAsNumpy(), np.int64) if record.ZeroPointLength() else np.zeros(1, np.int64)
    return Quantization(scale, np.broadcast_to(zero, scale.shape), int(record.QuantizedDimension()))


def _constant(buffer: Any, record: Any, shape: tuple[int, ...], kind: str, content: bytes) -> np.ndarray | None:
    if kind not in _DTYPES:
        return None
    if buffer.Offset() > 1:  # of files above 2 GB, behind the flatbuffer
        data: np.ndarray = np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    elif buffer.DataLength():
        data = np.asarray(buffer.DataAsNumpy())
    else:
        return np.zeros(shape, _DTYPES[kind]) if 0 in shape else None
    if kind == "INT4":  # two to a byte, the first one in the lower half
        data = np.stack([data << 4, data], axis=-1).reshape(-1).view(np.int8) >> 4
    values: np.ndarray = data if kind == "INT4" else np.frombuffer(data.tobytes(), _DTYPES[kind])
    if record.Sparsity() is not None:
        return densified(values, record.Sparsity(), shape)
    return values[: int(np.prod(shape))].reshape(shape)


def _operator(tflite: ModuleType, model: Any, record: Any) -> Operator:
    code = model.OperatorCodes(record.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files have the second one only
    custom = number == tflite.BuiltinOperator.CUSTOM
    kind = _names(tflite.BuiltinOperator).get(number, f"operator {number}")
    if custom:
        kind = (code.CustomCode() or b"").decode(errors="replace") or "CUSTOM"
    return Operator(
        kind,
        custom,
        _indices(record.Inputs, record.InputsLength),
        _indices(record.Outputs, record.OutputsLength),
        _options(tflite, record),
    )


def _options(tflite: ModuleType, record: Any) -> Any:
    name = _names(tflite.BuiltinOptions).get(record.BuiltinOptionsType())
    table = record.BuiltinOptions()
    if name in (None, "NONE") or table is None:
        return None
    options = getattr(tflite, name)()
    options.Init(table.Bytes, table.Pos)
    return options
