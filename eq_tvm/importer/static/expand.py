"""Operators by the functions that the ONNX standard defines them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, helper

from eq_tvm.importer.protobuf import copy_of

# Neither TVM's importer nor ours has these, or TVM's is wrong, or onnx's shape inference (of comparisons before 16).
EXPANDED = {
    "Attention",
    "BlackmanWindow",
    "CausalConvWithState",
    "Celu",
    "CenterCropPad",
    "DynamicQuantizeLinear",
    "FlexAttention",
    "GreaterOrEqual",
    "GroupNormalization",
    "HammingWindow",
    "HannWindow",
    "LayerNormalization",
    "LessOrEqual",
    "LinearAttention",
    "MeanVarianceNormalization",
    "NegativeLogLikelihoodLoss",
    "RMSNormalization",
    "Range",
    "RotaryEmbedding",
    "SequenceMap",
    "SoftmaxCrossEntropyLoss",
    "SwiGLU",
    "Swish",
}


def body_of(node: NodeProto, opset: int, types: Sequence[TypeProto | None]) -> FunctionProto | None:
    """What a node stands for: nodes in its place, with its attributes.

    Parameters
    ----------
    node : onnx.NodeProto
    opset : int
        Of the model.
    types : sequence of onnx.TypeProto or None
        Of the node's inputs; some functions depend on them.

    Returns
    -------
    onnx.FunctionProto or None
        None for operators that are compiled as they are.
    """
    if node.op_type not in EXPANDED or node.domain not in ("", "ai.onnx"):
        return None
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    if schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= opset)
        text = schema.get_function_with_opset_version(version)
    elif schema.has_context_dependent_function:
        version = max(v for v in schema.context_dependent_function_opset_versions if v <= opset)
        given = [(ty or TypeProto()).SerializeToString() for ty in types]
        text = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), given)
    else:
        return None
    body = FunctionProto()
    body.CopyFrom(FunctionProto.FromString(text) if isinstance(text, bytes) else text)
    if node.op_type in _VARIANCES:
        _center_first(body, *_VARIANCES[node.op_type])
    defaults = {name: each.default_value for name, each in schema.attributes.items() if each.default_value.type}
    _bind(body.node, defaults | {attribute.name: attribute for attribute in node.attribute})
    return body


# What functions call the deviation from the mean, its square, the mean of that, and the variance
_VARIANCES = dict.fromkeys(
    ("GroupNormalization", "LayerNormalization"), ("Deviation", "Square", "MeanOfSquare", "Var")
) | {"MeanVarianceNormalization": ("X_variance", "X_squared", "E_Xsquared", "Variance")}


def _center_first(body: FunctionProto, deviation: str, square: str, mean_of_square: str, variance: str) -> None:
    """Take the mean square of deviations for the variance.

    The standard's functions take the squared mean from the mean square: where the mean is large, little is left. Of a
    mean of 250 and a deviation of 1, float32 loses a thousandth, as ONNX Runtime does not.
    """
    made = {name: node for node in body.node for name in node.output}
    centered, squared = made[deviation], made[square]
    whole = centered.input[0]
    squared.input[:] = [deviation if name == whole else name for name in squared.input]
    made[variance].CopyFrom(helper.make_node("Identity", [mean_of_square], [variance]))
    again = copy_of(centered, outputs=[f"{deviation}OfSquare"])  # each kernel subtracts: cheaper than to store
    squared.input[:] = [again.output[0] if name == deviation else name for name in squared.input]
    nodes = [*body.node]
    nodes.insert(nodes.index(squared), again)
    del body.node[:]
    body.node.extend(nodes)


def _bind(nodes: Iterable[NodeProto], given: dict[str, AttributeProto]) -> None:
    """Replace references to the function's attributes by their values."""
    for node in nodes:
        attributes = list(node.attribute)
        del node.attribute[:]
        for attribute in attributes:
            name = attribute.ref_attr_name
            if name and name in given:
                bound = node.attribute.add()
                bound.CopyFrom(given[name])
                bound.name = attribute.name
            elif not name:
                if attribute.type == AttributeProto.GRAPH:
                    _bind(attribute.g.node, given)
                node.attribute.append(attribute)
