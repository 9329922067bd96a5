"""Old operator sets: bring a model to one that the Relax importer reads."""

from pathlib import Path

import onnx
from onnx import NodeProto, helper, version_converter

from eq_tvm.errors import UserError
from eq_tvm.importer.names import one_line, opset
from eq_tvm.importer.protobuf import attributes_of, replace_attributes, shapes_of
from eq_tvm.importer.static import specialize

MINIMUM_OPSET = 13  # the Relax importer reads some operators in their newer form only


def upgrade(path: str | Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a static model to operator set 13, unless it has that already.

    onnx's converter does it, but for two changes of meaning that it forgets: before 11, Resize and Upsample place
    pixels by their corners, and before 13, Softmax, LogSoftmax and Hardmax work on all axes from ``axis`` on.

    Raises
    ------
    UserError
        The converter can't.
    """
    before = opset(model)
    if before >= MINIMUM_OPSET:
        return model
    _flatten_softmax(model)
    try:
        model = version_converter.convert_version(model, MINIMUM_OPSET)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        what = f"operator set {before} can't be converted to {MINIMUM_OPSET}; export the model anew"
        raise UserError(f"{path}: {what} ({one_line(error)})") from None
    if before < 11:
        _place_corners(model)
    return specialize(path, model)


def _flatten_softmax(model: onnx.ModelProto) -> None:
    shapes = shapes_of(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        shape = shapes.get(node.input[0]) if node.op_type in ("Softmax", "LogSoftmax", "Hardmax") else None
        if shape is None:
            nodes.append(node)
            continue
        axis = attributes_of(node).get("axis", 1)
        rows, result, output = (f"{node.output[0]}:{part}" for part in ("rows", "result", "shape"))
        model.graph.initializer.append(helper.make_tensor(output, onnx.TensorProto.INT64, [len(shape)], shape))
        nodes += [
            helper.make_node("Flatten", node.input[:1], [rows], axis=axis),
            helper.make_node(node.op_type, [rows], [result], name=node.name, axis=1),
            helper.make_node("Reshape", [result, output], node.output[:1]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _place_corners(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Resize":
            given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            replace_attributes(node, given, **given)
