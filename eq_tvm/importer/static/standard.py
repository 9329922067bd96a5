"""What onnx itself knows of a node: its schema, and its results on constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TypeProto, helper
from onnx.reference import ReferenceEvaluator


def is_static(ty: TypeProto) -> bool:
    """Whether a type is a tensor's whose every extent is known."""
    tensor = ty.tensor_type
    return tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim)


def schema_of(node: NodeProto, domains: Mapping[str, int]) -> Any | None:
    """What onnx knows of a node's operator, in the model's operator set."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = next((domains[name] for name in (domain, "ai.onnx") if name in domains), 1)
    try:
        return onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def evaluate(
    node: NodeProto, values: Mapping[str, np.ndarray | None], domains: Mapping[str, int]
) -> dict[str, Any] | None:
    """Results of a node, by onnx's reference evaluator; None where that can't."""
    names = [name for name in node.output if name]
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_value_info(name, TypeProto()) for name in values],
        [helper.make_value_info(name, TypeProto()) for name in names],
    )
    oldest = _IMPLEMENTED_SINCE.get(node.op_type, 1)
    opsets = [helper.make_opsetid(domain, max(version, oldest)) for domain, version in domains.items()]
    try:
        with np.errstate(all="ignore"):
            model = helper.make_model(graph, opset_imports=opsets)
            return dict(zip(names, ReferenceEvaluator(model).run(names, dict(values)), strict=True))
    except Exception:  # it raises whatever it likes; the node is then left to be compiled
        return None


# Where the reference evaluator has only newer forms of an operator, which mean the same
_IMPLEMENTED_SINCE = {"DequantizeLinear": 19, "QuantizeLinear": 19}
