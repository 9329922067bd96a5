"""Read an ONNX file, check what eq_tvm can't do without, and make its shapes static."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper, shape_inference, version_converter

from eq_tvm.errors import UserError

MINIMUM_OPSET = 13  # older models are converted to it: the Relax importer reads some operators in their newer form only


def read_onnx(path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> onnx.ModelProto:
    """Read and validate a model, and give its inputs static shapes.

    Parameters
    ----------
    path : path of the ONNX file; external data lies where the file says, beside it
    shapes : mapping of input name to shape, optional
        Replaces the shapes in the file. Without it, a symbolic first axis (the batch) becomes 1.

    Returns
    -------
    onnx.ModelProto
        Of operator set 13 or later, with inferred shapes; convolutions and poolings have explicit ``pads``.

    Raises
    ------
    UserError
        A missing, truncated, non-ONNX or invalid file, missing external data, an input that is not float32 or whose
        shape is dynamic beyond the batch, an unknown name in ``shapes``, NaN or infinity in weights.
    """
    model = _load(Path(path))
    _set_input_shapes(path, model, shapes or {})
    _check_constants(path, model)
    model = _infer_shapes(path, _upgrade(path, model))
    _make_padding_explicit(model)
    return model


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a person feeds: old models list the initializers among the inputs, too."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in initializers]


def node_name(node: onnx.NodeProto) -> str:
    """How messages and records call a node: its name, or its first output's where it has none."""
    return node.name or next(filter(None, node.output), node.op_type)


def opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.SetInParent()  # shapes are found below, but the checker wants them now
        onnx.checker.check_model(model)
    except DecodeError:
        raise UserError(f"{path}: not an ONNX file, or truncated") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except onnx.checker.ValidationError as error:
        if not path.stat().st_size:
            raise UserError(f"{path}: the file is empty") from None
        raise UserError(f"{path}: not a valid ONNX model: {_one_line(error)}") from None
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    if not graph_inputs(model):
        raise UserError(f"{path}: the model has no inputs")
    return model


def _set_input_shapes(path: str | Path, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    inputs = {value.name: value for value in graph_inputs(model)}
    if unknown := sorted(shapes.keys() - inputs.keys()):
        raise UserError(f"{path}: no input {unknown[0]!r} (--input); the model's inputs are {', '.join(inputs)}")
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        if tensor.elem_type != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(tensor.elem_type).lower()
            raise UserError(f"{path}: input {name!r} is {kind}; float32 is expected: export the model in float32")
        declared = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
        shape = list(shapes.get(name, [1 if i == 0 and axis is None else axis for i, axis in enumerate(declared)]))
        if not shape:
            raise UserError(f"{path}: input {name!r} has no shape; give one with --input {name}=1,3,224,224")
        sizes = [axis for axis in shape if axis is not None]
        if len(sizes) < len(shape):
            axes = ",".join(axis.dim_param or str(axis.dim_value or "?") for axis in tensor.shape.dim)
            example = ",".join(map(str, [axis or 224 for axis in shape]))
            raise UserError(
                f"{path}: input {name!r} has the dynamic shape ({axes}); fix it with --input {name}={example}"
            )
        if (declared and len(sizes) != len(declared)) or min(sizes) < 1:
            raise UserError(f"{path}: --input {name}={','.join(map(str, sizes))} does not fit {_describe(tensor)}")
        tensor.shape.CopyFrom(onnx.TensorShapeProto(dim=[{"dim_value": axis} for axis in sizes]))
    del model.graph.value_info[:]  # what the file says of the shapes inside may hold for the old ones only
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _describe(tensor: onnx.TypeProto.Tensor) -> str:
    axes = ",".join(axis.dim_param or str(axis.dim_value or "?") for axis in tensor.shape.dim)
    return f"the model's shape ({axes})"


# Where an infinite constant is a bound or a mask, not a weight
_INFINITY_ALLOWED = {"Clip", "Max", "Min", "Pad", "Where"}


def _check_constants(path: str | Path, model: onnx.ModelProto) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    for node in model.graph.node:
        for name in node.input:
            if name not in constants or node.op_type in _INFINITY_ALLOWED:
                continue
            values = numpy_helper.to_array(constants.pop(name))
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                what = f"weights {name!r} of {node.op_type} node {node_name(node)!r}"
                raise UserError(f"{path}: NaN or infinity in the {what}")


def _upgrade(path: str | Path, model: onnx.ModelProto) -> onnx.ModelProto:
    if opset(model) >= MINIMUM_OPSET:
        return model
    try:
        return version_converter.convert_version(model, MINIMUM_OPSET)
    except RuntimeError as error:
        what = f"operator set {opset(model)} can't be converted to {MINIMUM_OPSET}; export the model anew"
        raise UserError(f"{path}: {what} ({_one_line(error)})") from None


def _infer_shapes(path: str | Path, model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError) as error:
        raise UserError(f"{path}: the shapes do not fit: {_one_line(error)}") from None


def _make_padding_explicit(model: onnx.ModelProto) -> None:
    """Write ``auto_pad`` as ``pads``: the Relax importer puts a pad operator in front, and gets SAME_LOWER wrong."""
    extents = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.value_info]
    } | {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type not in ("Conv", "MaxPool", "AveragePool") or "auto_pad" not in attributes:
            continue
        mode, data = attributes["auto_pad"].decode(), extents.get(node.input[0], [])[2:]
        kernel = attributes.get("kernel_shape") or extents[node.input[1]][2:]
        pads = attributes.get("pads", [0] * 2 * len(kernel))
        if mode.startswith("SAME"):
            if not all(data):
                continue
            ones = [1] * len(kernel)
            strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
            totals = [
                max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
                for size, k, stride, dilation in zip(data, kernel, strides, dilations, strict=True)
            ]
            small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
            pads = small + large if mode == "SAME_UPPER" else large + small
        kept = [attribute for attribute in node.attribute if attribute.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
