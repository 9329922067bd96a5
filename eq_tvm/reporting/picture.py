"""A network as boxes and lines: what it computes, without what quantizes, and where each box goes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

# Between an activation and its reader, and behind outputs
_PAIRS = {"QuantizeLinear", "DequantizeLinear", "Identity"}
WEIGHTS = "_weight_dq"  # behind a layer's name: its dequantized weights
# What gives quantized values as they are has no pair behind it
_MOVING = {"Concat", "DepthToSpace", "Flatten", "Gather", "MaxPool", "Pad", "Reshape", "Resize", "Slice",
           "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}  # fmt: skip


# These compute in integers where there is a kernel for it, which the bundle's records say, and those never do
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_FLOAT = {"Einsum", "GRU", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "LSTM", "NonMaxSuppression",
          "ReduceL2", "ReduceMax", "ReduceMin", "ReduceSum", "RNN", "Softmax", "TopK"}  # fmt: skip


@dataclass
class Box:
    """An operator, an input or an output.

    Attributes
    ----------
    name : str
        The node's; of a layer as in the bundle's records.
    op : str
        ONNX's operator; ``input`` for an input, ``output`` for an output.
    row, column : int
        Rows grow along the data; columns are of parallel branches, the middle of the picture is 0.
    inputs : list of int
        The boxes that it reads.
    is_float : bool
        Whether it computes in floats: it reads no quantized activation, or has no kernel for integers.
    """

    name: str
    op: str
    inputs: list[int]
    is_float: bool = False
    row: int = 0
    column: float = 0.0


def picture(model: onnx.ModelProto, layers: Collection[str]) -> list[Box]:
    """The boxes of a quantized network, as `eq_tvm.exporting.qdq.to_onnx` writes it, in topological order.

    `layers` are the names of convolutions and products that compute in integers.

    A row is one below the lowest that it reads (longest-path layering); in a row, boxes stand in the order of the mean
    column of what they read (the barycenter heuristic of Sugiyama, Tagawa and Toda, 1981).
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    boxes = [Box(value.name, "input", []) for value in model.graph.input if value.name not in constants]
    made_by = {box.name: i for i, box in enumerate(boxes)}
    quantized: set[str] = set()
    for node in model.graph.node:
        read = [name for name in node.input if name in made_by]
        if not read:
            continue  # a constant
        if node.op_type in _PAIRS or (node.op_type == "Clip" and read[0] in quantized):
            made_by |= dict.fromkeys(node.output, made_by[read[0]])
            if node.op_type != "Identity":
                quantized |= set(node.output)
            continue
        name = layer_of(node) or node.name
        is_float = not any(each in quantized for each in read) or node.op_type in _FLOAT
        is_float = is_float or (node.op_type in _LAYERS and name not in layers)
        if node.op_type in _MOVING and not is_float:
            quantized |= set(node.output)
        boxes.append(Box(name, node.op_type, [made_by[each] for each in read], is_float))
        made_by |= dict.fromkeys(node.output, len(boxes) - 1)
    boxes += [Box(value.name, "output", [made_by[value.name]]) for value in model.graph.output if value.name in made_by]
    _place(boxes)
    return boxes


def layer_of(node: onnx.NodeProto) -> str:
    """The layer whose quantized weights a node reads; empty for what reads none."""
    weights = next((name for name in node.input[1:] if name.endswith(WEIGHTS)), "")
    return weights.removesuffix(WEIGHTS)


def _place(boxes: list[Box]) -> None:
    rows: dict[int, list[Box]] = {}
    for box in boxes:
        box.row = 1 + max((boxes[i].row for i in box.inputs), default=-1)
        rows.setdefault(box.row, []).append(box)
    for _, row in sorted(rows.items()):
        for box in row:
            columns = [boxes[i].column for i in box.inputs]
            box.column = sum(columns) / len(columns) if columns else 0.0
        row.sort(key=lambda box: box.column)
        middle = sum(box.column for box in row) / len(row)
        for place, box in enumerate(row):
            box.column = round(middle + place - (len(row) - 1) / 2, 3)
