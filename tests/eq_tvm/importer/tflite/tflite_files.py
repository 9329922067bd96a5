"""Small TFLite files, written with the builders of the package ``tflite``, and what ONNX Runtime makes of them."""

import importlib
from dataclasses import dataclass

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import tflite

from eq_tvm.importer.tflite import read_tflite

SAME, VALID = 0, 1
RELU, RELU_N1_TO_1, RELU6, TANH = 1, 2, 3, 4
TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int32": tflite.TensorType.INT32,
    "int64": tflite.TensorType.INT64,
    "int16": tflite.TensorType.INT16,
    "uint8": tflite.TensorType.UINT8,
    "int8": tflite.TensorType.INT8,
    "int4": tflite.TensorType.INT4,
    "bool": tflite.TensorType.BOOL,
    "string": tflite.TensorType.STRING,
}
OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2D",
    "L2_POOL_2D": "Pool2D",
    "MAX_POOL_2D": "Pool2D",
    "BATCH_MATMUL": "BatchMatMul",
    "CONCATENATION": "Concatenation",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "FULLY_CONNECTED": "FullyConnected",
    "GATHER": "Gather",
    "L2_NORMALIZATION": "L2Norm",
    "LEAKY_RELU": "LeakyRelu",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalization",
    "MEAN": "Reducer",
    "REDUCE_ALL": "Reducer",
    "REDUCE_ANY": "Reducer",
    "REDUCE_MAX": "Reducer",
    "REDUCE_MIN": "Reducer",
    "REDUCE_PROD": "Reducer",
    "SUM": "Reducer",
    "MIRROR_PAD": "MirrorPad",
    "RESIZE_BILINEAR": "ResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
    "SPACE_TO_DEPTH": "SpaceToDepth",
    "DEPTH_TO_SPACE": "DepthToSpace",
    "STRIDED_SLICE": "StridedSlice",
    "TRANSPOSE_CONV": "TransposeConv",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    **{kind: kind.title() for kind in ("ADD", "SUB", "MUL", "DIV", "PACK", "UNPACK", "SOFTMAX", "GELU", "CUMSUM")},
}


@dataclass
class T:
    """A tensor: constant if it has data, quantized if it has a scale."""

    shape: tuple = ()
    dtype: str = "float32"
    data: object = None
    scale: object = None
    zero: object = 0
    axis: int = 0
    signature: tuple = ()


def const(data, dtype=None, **more):
    data = np.asarray(data, dtype)
    return T(data.shape, str(data.dtype), data, **more)


def write(path, operators, tensors, inputs, outputs, codes=None):
    """A file of one subgraph.

    Operators are (kind, "inputs", "outputs", options), where "-" is an input that is left out; a kind in `codes` is a
    custom operator.
    """
    b = flatbuffers.Builder()
    names = list(tensors)
    buffers = [b""] + [b"" if t.data is None else np.asarray(t.data).tobytes() for t in tensors.values()]
    buffers = [_buffer(b, data) for data in buffers]
    records = [_tensor(b, name, i + 1, tensors[name]) for i, name in enumerate(names)]
    kinds = list(dict.fromkeys(kind for kind, *_ in operators))
    written = []
    for kind, read, made, options in operators:
        index = [[-1 if n == "-" else names.index(n) for n in each.split()] for each in (read, made)]
        written.append(_operator(b, kinds.index(kind), kind, *index, options))
    opcodes = [_opcode(b, kind, custom=kind in (codes or ())) for kind in kinds]
    ends = [_ints(b, [names.index(n) for n in each.split()]) for each in (inputs, outputs)]
    tensors_at, operators_at = _tables(b, records), _tables(b, written)
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, tensors_at)
    tflite.SubGraphAddInputs(b, ends[0])
    tflite.SubGraphAddOutputs(b, ends[1])
    tflite.SubGraphAddOperators(b, operators_at)
    graphs = _tables(b, [tflite.SubGraphEnd(b)])
    opcodes_at, buffers_at = _tables(b, opcodes), _tables(b, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, opcodes_at)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, buffers_at)
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    path.write_bytes(bytes(b.Output()))
    return path


def run(path, *values):
    """All results of ONNX Runtime for the file as ONNX."""
    model = read_tflite(path)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    # Else, on AVX2, its sums of pairs saturate.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: array for value, array in zip(session.get_inputs(), values, strict=True)})


def one(path, kind, operands, result, options=None, inputs=None):
    """The result of a file of a single operator, whose operands are arrays (inputs), `T`s and None (left out)."""
    tensors, names, values = {}, [], []
    for i, operand in enumerate(operands):
        if operand is None:
            names.append("-")
            continue
        name = f"in{i}"
        names.append(name)
        if isinstance(operand, T):
            tensors[name] = operand
        else:
            tensors[name] = T(operand.shape, str(operand.dtype))
            values.append(operand)
    results = result if isinstance(result, list) else [result]
    made = [f"out{i}" for i in range(len(results))]
    tensors |= dict(zip(made, results, strict=True))
    given = " ".join(n for n, o in zip(names, operands, strict=True) if o is not None and not _is_constant(o))
    write(path, [(kind, " ".join(names), " ".join(made), options or {})], tensors, given, " ".join(made))
    found = run(path, *(values if inputs is None else inputs))
    return found if isinstance(result, list) else found[0]


def _is_constant(operand):
    return isinstance(operand, T) and operand.data is not None


def _buffer(b, data):
    at = b.CreateByteVector(data) if data else None
    tflite.BufferStart(b)
    if at is not None:
        tflite.BufferAddData(b, at)
    return tflite.BufferEnd(b)


def _tensor(b, name, buffer, tensor):
    called, shape = b.CreateString(name), _ints(b, tensor.shape)
    signature = _ints(b, tensor.signature) if tensor.signature else None
    scales = None
    if tensor.scale is not None:
        scale, zero = np.atleast_1d(np.float32(tensor.scale)), np.atleast_1d(np.int64(tensor.zero))
        scale_at, zero_at = b.CreateNumpyVector(scale), b.CreateNumpyVector(np.broadcast_to(zero, scale.shape).copy())
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale_at)
        tflite.QuantizationParametersAddZeroPoint(b, zero_at)
        tflite.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
        scales = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddName(b, called)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, TYPES[tensor.dtype])
    tflite.TensorAddBuffer(b, buffer)
    if signature is not None:
        tflite.TensorAddShapeSignature(b, signature)
    if scales is not None:
        tflite.TensorAddQuantization(b, scales)
    return tflite.TensorEnd(b)


def _operator(b, opcode, kind, inputs, outputs, options):
    table = None
    if kind in OPTIONS:
        name = f"{OPTIONS[kind]}Options"
        module = importlib.import_module(f"tflite.{name}")
        getattr(module, f"{name}Start")(b)
        for field, value in options.items():
            getattr(module, f"{name}Add{field}")(b, value)
        table = getattr(module, f"{name}End")(b)
    read, made = _ints(b, inputs), _ints(b, outputs)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, opcode)
    tflite.OperatorAddInputs(b, read)
    tflite.OperatorAddOutputs(b, made)
    if table is not None:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, name))
        tflite.OperatorAddBuiltinOptions(b, table)
    return tflite.OperatorEnd(b)


def _opcode(b, kind, custom):
    called = b.CreateString(kind) if custom else None
    number = tflite.BuiltinOperator.CUSTOM if custom else getattr(tflite.BuiltinOperator, kind)
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
    tflite.OperatorCodeAddBuiltinCode(b, number)
    if called is not None:
        tflite.OperatorCodeAddCustomCode(b, called)
    return tflite.OperatorCodeEnd(b)


def _ints(b, values):
    return b.CreateNumpyVector(np.array(values, np.int32))


def _tables(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()
