"""What becomes of the axis of rows in each operator."""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from eq_tvm.importer.static.expand import body_of
from eq_tvm.importer.static.rows import data, found, joining, numbers, reductions, shapes
from eq_tvm.importer.static.rows.rule import Rule, across, along
from eq_tvm.importer.static.specializer import OURS, Specializer


def follow(specializer: Specializer, node: NodeProto) -> NodeProto | None:
    """Keep a node some of whose operands have such rows, or are numbers of them.

    Returns
    -------
    onnx.NodeProto or None
        What is left to its handler; None where nothing is.

    Raises
    ------
    UserError
        It reads across rows.
    """
    read = [specializer.rows[name] for name in node.input if name in specializer.rows]
    is_alias = node.op_type in ("Identity", "CastLike", "Dropout") or node.domain == OURS
    if is_alias or not (read or any(name in specializer.numbers for name in node.input)):
        return node
    followed = specializer.rows.keys() | specializer.settled
    if all(name in followed for name in node.output if name):  # before the model was converted
        specializer.keep(node)
        return None
    if numbers.follow_numbers(specializer, node):
        return None
    if node.op_type in _SHAPED:
        _SHAPED[node.op_type](specializer, node)
        return None
    node = numbers.as_tensors(specializer, node)
    if not read:
        return node
    body = body_of(node, specializer.opset, [specializer.types.get(name) for name in node.input])
    if body is not None:  # whose operators have rules
        specializer.run_function(node, body)
        return None
    rule = _RULES.get(node.op_type)
    if rule is None or (len({rows.count for rows in read}) > 1 and node.op_type not in _OF_SEVERAL):
        raise across(specializer, node)
    rule(specializer, node, read[0])
    return None


_ELEMENTWISE = {
    *("Abs", "Add", "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Clip", "Cos"),
    *("Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "HardSigmoid", "HardSwish"),
    *("IsInf", "IsNaN", "LeakyRelu", "Less", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg"),
    *("Not", "Or", "Pow", "PRelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus"),
    *("Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor"),
}
_ON_IMAGES = {
    *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool"),
    *("InstanceNormalization", "MaxPool", "Resize"),
}
_REDUCTIONS = {
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}
_OF_SEVERAL = {"Concat", "Gather", "GatherND", "ScatterElements"}  # which may read rows of several counts
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, data.elementwise),
    **dict.fromkeys(_ON_IMAGES, along(data.batch)),
    **dict.fromkeys(_REDUCTIONS, reductions.reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), along(data.arg)),
    **dict.fromkeys(("LogSoftmax", "Softmax"), along(data.softmax)),
    "Cast": data.elementwise,
    "Concat": joining.concat,
    "Flatten": shapes.flatten,
    "Gather": data.gather,
    "GatherND": data.gather_nd,
    "Gemm": along(data.gemm),
    "MatMul": along(data.matmul),
    "NonMaxSuppression": found.suppression,
    "NonZero": found.nonzero,
    "Pad": along(data.pad),
    "RoiAlign": data.regions,
    "ScatterElements": joining.scatter,
    "Shape": shapes.shape_of,
    "Size": shapes.size_of,
    "Split": along(data.by_axis(0)),
    "Squeeze": data.squeeze,
    "Transpose": along(data.transpose),
    "Unsqueeze": data.unsqueeze,
}
# Operators with a shape, or bounds of one, that may be numbers of rows
_SHAPED: dict[str, Callable[[Specializer, NodeProto], None]] = {
    "ConstantOfShape": shapes.constant_of_shape,
    "Expand": shapes.expand,
    "Range": shapes.range_,
    "Reshape": shapes.reshape,
    "Slice": shapes.slice_,
    "TopK": reductions.top_k,
}
