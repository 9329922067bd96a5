"""What becomes of the axis of rows in each operator."""

from __future__ import annotations

from onnx import NodeProto

from eq_tvm.importer.static.rows import data, found, shapes
from eq_tvm.importer.static.rows.rule import Rule, across, along
from eq_tvm.importer.static.specializer import OURS, Specializer


def follow(specializer: Specializer, node: NodeProto) -> bool:
    """Keep a node some of whose operands have such rows, or are shapes of such tensors.

    Returns
    -------
    bool
        False leaves the node to its handler.

    Raises
    ------
    UserError
        It reads across rows.
    """
    read = [specializer.rows[name] for name in node.input if name in specializer.rows]
    read += [specializer.row_shapes[name][0] for name in node.input if name in specializer.row_shapes]
    if not read or node.op_type in ("Identity", "CastLike", "Dropout") or node.domain == OURS:
        return False
    followed = specializer.rows.keys() | specializer.settled
    if all(name in followed for name in node.output if name):  # before the model was converted
        specializer.keep(node)
        return True
    rule = _RULES.get(node.op_type)
    if rule is None or (len({rows.count for rows in read}) > 1 and node.op_type not in ("Gather", "GatherND")):
        raise across(specializer, node)
    rule(specializer, node, read[0])
    return True


_ELEMENTWISE = {
    *("Abs", "Add", "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Clip", "Cos"),
    *("Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish"),
    *("IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg"),
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
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, data.elementwise),
    **dict.fromkeys(_ON_IMAGES, along(data.batch)),
    **dict.fromkeys(_REDUCTIONS, along(data.reduce)),
    **dict.fromkeys(("ArgMax", "ArgMin"), along(data.arg)),
    **dict.fromkeys(("LogSoftmax", "Softmax"), along(data.softmax)),
    "Cast": data.cast,
    "Concat": data.concat,
    "ConstantOfShape": shapes.constant_of_shape,
    "Expand": shapes.expand,
    "Flatten": along(data.flatten),
    "Gather": data.gather,
    "GatherND": data.gather_nd,
    "MatMul": along(data.matmul),
    "NonMaxSuppression": found.suppression,
    "NonZero": found.nonzero,
    "Reshape": shapes.reshape,
    "RoiAlign": data.regions,
    "Shape": shapes.shape_of,
    "Slice": data.slice_,
    "Split": along(data.by_axis(0)),
    "Squeeze": data.squeeze,
    "TopK": along(data.by_axis(-1)),
    "Transpose": along(data.transpose),
    "Unsqueeze": data.unsqueeze,
}
