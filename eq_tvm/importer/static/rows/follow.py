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
    rule = next((rule for names, rule in _RULES if node.op_type in names), None)
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
_RULES: list[tuple[set[str], Rule]] = [
    (_ELEMENTWISE, data.elementwise),
    (_REDUCTIONS, along(data.reduce)),
    ({"ArgMax", "ArgMin"}, along(data.arg)),
    ({"Softmax", "LogSoftmax"}, along(data.softmax)),
    (_ON_IMAGES, along(data.batch)),
    ({"RoiAlign"}, data.regions),
    ({"TopK"}, along(data.by_axis(-1))),
    ({"Split"}, along(data.by_axis(0))),
    ({"Transpose"}, along(data.transpose)),
    ({"Flatten"}, along(data.flatten)),
    ({"MatMul"}, along(data.matmul)),
    ({"Cast"}, data.cast),
    ({"Concat"}, data.concat),
    ({"ConstantOfShape"}, shapes.constant_of_shape),
    ({"Expand"}, shapes.expand),
    ({"Gather"}, data.gather),
    ({"GatherND"}, data.gather_nd),
    ({"NonMaxSuppression"}, found.suppression),
    ({"NonZero"}, found.nonzero),
    ({"Reshape"}, shapes.reshape),
    ({"Shape"}, shapes.shape_of),
    ({"Slice"}, data.slice_),
    ({"Squeeze"}, data.squeeze),
    ({"Unsqueeze"}, data.unsqueeze),
]
