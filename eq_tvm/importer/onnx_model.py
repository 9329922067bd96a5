"""Read an ONNX file, check what eq_tvm can't do without, and make its shapes static."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from eq_tvm.errors import UserError
from eq_tvm.importer.contents import check_contents
from eq_tvm.importer.formats import onnx_file, weight_bytes
from eq_tvm.importer.names import graph_inputs, node_name, one_line, opset
from eq_tvm.importer.node_order import sort_nodes
from eq_tvm.importer.padding import make_padding_explicit
from eq_tvm.importer.sparse import densify
from eq_tvm.importer.static import specialize
from eq_tvm.importer.upgrade import upgrade
from eq_tvm.importer.widen import widen

Shapes = Mapping[str, tuple[int, ...]]
Constants = Mapping[str, Any]  # by input, whatever numpy makes an array of


def read_onnx(path: str | Path, shapes: Shapes | None = None, constants: Constants | None = None) -> onnx.ModelProto:
    """Read and validate a model, and make it static.

    Parameters
    ----------
    path : path of the ONNX file; external data lies where the file says, beside it
    shapes : mapping of input name to shape, optional
        Replaces the shapes in the file. Without it, a symbolic first axis (the batch) becomes 1.
    constants : mapping of input name to value, optional
        Inputs that are no inputs any more, but always have this value.

    Returns
    -------
    onnx.ModelProto
        Of operator set 13 or later, computing in float32, without subgraphs and functions, with the static type of
        every tensor; convolutions and poolings have explicit ``pads``.

    Raises
    ------
    UserError
        A missing, truncated, non-ONNX or invalid file, missing external data, an input whose type is none of ours or
        whose shape is dynamic beyond the batch, an unknown name in ``shapes`` or ``constants``, NaN or infinity in
        weights, shapes that depend on data.
    """
    return make_static(path, load_onnx(path), shapes, constants)


def make_static(
    path: str | Path, model: onnx.ModelProto, shapes: Shapes | None = None, constants: Constants | None = None
) -> onnx.ModelProto:
    """What `read_onnx` makes of a model that it loaded, and may change."""
    fix_inputs(path, model, shapes or {}, constants or {})
    _check_constants(path, model)
    model = upgrade(path, specialize(path, widen(model)))
    make_padding_explicit(model)
    return model


def load_onnx(path: str | Path) -> onnx.ModelProto:
    """Read and validate a model as it is, of any format; UserError where it can't be."""
    path = Path(path)
    try:
        model = onnx.load(onnx_file(path))
        if (size := weight_bytes(model)) > onnx.checker.MAXIMUM_PROTOBUF:
            raise UserError(f"{path}: the weights take {size / 1e9:.1f} GB; at most 2 GB can be compiled")
        check_contents(path, model)
        sort_nodes(model.graph)
        _standardize_pairs(model)
        _check(model)
        densify(path, model)
        return _without_functions(model)
    except DecodeError:
        raise UserError(f"{path}: not an ONNX file, or truncated") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except onnx.checker.ValidationError as error:
        if not path.stat().st_size:
            raise UserError(f"{path}: the file is empty") from None
        raise UserError(f"{path}: not a valid ONNX model: {one_line(error)}") from None
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # of external data, functions, conversion
        raise UserError(f"{path}: not a valid ONNX model: {one_line(error)}") from None


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """With those that the file defines put in where they are called; but standard operators are what they are.

    The standard leaves it open which goes before (ModelProto.functions), and ONNX Runtime has it so.
    """
    own = [f for f in model.functions if f.domain not in ("", "ai.onnx") or not onnx.defs.has(f.name)]
    if len(own) < len(model.functions):
        del model.functions[:]
        model.functions.extend(own)
    return onnx.inliner.inline_local_functions(model) if own else model


def fix_inputs(path: str | Path, model: onnx.ModelProto, shapes: Shapes, constants: Constants) -> None:
    """Give a model's inputs static shapes, or values: see `read_onnx`."""
    inputs = {value.name: value for value in graph_inputs(model)}
    for flag, given in (("--input", shapes), ("--constant", constants)):
        if unknown := sorted(given.keys() - inputs.keys()):
            known = ", ".join(inputs) or "none"
            raise UserError(f"{path}: no input {unknown[0]!r} ({flag}); the model's inputs are {known}")
    if both := sorted(shapes.keys() & constants.keys()):
        raise UserError(f"{path}: input {both[0]!r} has both a shape (--input) and a value (--constant); leave one out")
    for name, value in inputs.items():
        _check_type(path, value)
        if name in constants:
            model.graph.initializer.append(_constant(path, value, constants[name]))
        else:
            _set_shape(path, value, shapes.get(name))
    if not graph_inputs(model):
        raise UserError(f"{path}: the model has no inputs")
    del model.graph.value_info[:]  # what the file says of the shapes inside may hold for the old ones only


def _standardize_pairs(model: onnx.ModelProto) -> None:
    """ONNX Runtime's quantizer writes those of 4 and 16 bits in its own domain, where operator sets are old."""
    if not any((node.domain, node.op_type) in _PAIRS for node in model.graph.node):
        return
    if opset(model) < _NARROW:
        model.CopyFrom(onnx.version_converter.convert_version(model, _NARROW))
    for node in model.graph.node:
        if (node.domain, node.op_type) in _PAIRS:
            node.domain = ""


_PAIRS = {("com.microsoft", "QuantizeLinear"), ("com.microsoft", "DequantizeLinear")}
_NARROW = 21  # the first operator set with pairs of 4 and 16 bits


def _check(model: onnx.ModelProto) -> None:
    """Onnx's checker wants shapes even where a model need not have them, and of old ones that weights are inputs, too.

    OnnxMLTools left these out; runtimes don't mind.
    """
    inputs = {value.name for value in model.graph.input}
    if any(tensor.name not in inputs for tensor in model.graph.initializer):
        model.ir_version = max(model.ir_version, 4)
    tensors = [value for value in [*model.graph.input, *model.graph.output] if value.type.HasField("tensor_type")]
    missing = [value for value in tensors if not value.type.tensor_type.HasField("shape")]
    for value in missing:
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(model)
    for value in missing:
        value.type.tensor_type.ClearField("shape")


_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
_TYPES = (*_FLOATS, "BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))


def _check_type(path: str | Path, value: onnx.ValueInfoProto) -> None:
    if not value.type.HasField("tensor_type"):
        kind = (value.type.WhichOneof("value") or "of no type").removesuffix("_type")
        raise UserError(f"{path}: input {value.name!r} is {kind}; only tensors can be inputs")
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if kind not in _TYPES:
        usual = ", ".join(map(str.lower, _TYPES))
        raise UserError(
            f"{path}: input {value.name!r} is {kind.lower()}; inputs can be {usual}: export the model with these"
        )


def _declared(value: onnx.ValueInfoProto) -> list[int | None]:
    """The extents that the file gives an input; some exporters write -1 for what is dynamic."""
    return [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]


def _set_shape(path: str | Path, value: onnx.ValueInfoProto, given: tuple[int, ...] | None) -> None:
    name, tensor, declared = value.name, value.type.tensor_type, _declared(value)
    if given is None and not tensor.HasField("shape"):
        raise UserError(f"{path}: input {name!r} has no shape; give one with --input {name}=1,3,224,224")
    shape = list(given or [1 if i == 0 and axis is None else axis for i, axis in enumerate(declared)])
    sizes = [axis for axis in shape if axis is not None]
    axes = ",".join(axis.dim_param or str(size or "?") for axis, size in zip(tensor.shape.dim, declared, strict=True))
    if len(sizes) < len(shape):
        example = ",".join(map(str, [axis or 224 for axis in shape]))
        raise UserError(f"{path}: input {name!r} has the dynamic shape ({axes}); fix it with --input {name}={example}")
    if (tensor.HasField("shape") and len(sizes) != len(declared)) or min(sizes, default=0) < 0:
        said = ",".join(map(str, sizes))
        raise UserError(f"{path}: --input {name}={said} does not fit the model's shape ({axes})")
    tensor.shape.CopyFrom(onnx.TensorShapeProto(dim=[{"dim_value": axis} for axis in sizes]))


def _constant(path: str | Path, value: onnx.ValueInfoProto, given: Any) -> TensorProto:
    tensor, declared = value.type.tensor_type, _declared(value)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    array = np.asarray(given)
    converted = array.astype(dtype)
    if dtype.kind not in "fc" and not np.array_equal(converted, array):
        raise UserError(f"{path}: input {value.name!r} is {dtype}; --constant gives it {array.tolist()}")
    if tensor.HasField("shape") and converted.ndim < len(declared) and converted.size == 1:
        converted = converted.reshape([1] * len(declared))
    fits = len(declared) == converted.ndim and all(
        want is None or want == got for want, got in zip(declared, converted.shape, strict=True)
    )
    if tensor.HasField("shape") and not fits:
        axes = ",".join(axis.dim_param or str(axis.dim_value) for axis in tensor.shape.dim)
        shape = ",".join(map(str, converted.shape))
        raise UserError(f"{path}: input {value.name!r} has the shape ({axes}); --constant gives it ({shape})")
    return numpy_helper.from_array(converted, value.name)


# Operators whose constant operands are weights; elsewhere infinity is a bound or a mask
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LSTM", "GRU", "RNN"}


def _check_constants(path: str | Path, model: onnx.ModelProto) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in constants:
            scale = numpy_helper.to_array(constants[node.input[1]])
            if not scale.all():
                raise UserError(f"{path}: the scale of QuantizeLinear node {node_name(node)!r} is 0")
        for name in node.input:
            if name not in constants or node.op_type not in _WEIGHTED:
                continue
            values = numpy_helper.to_array(constants.pop(name))
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                what = f"weights {name!r} of {node.op_type} node {node_name(node)!r}"
                raise UserError(f"{path}: NaN or infinity in the {what}")
