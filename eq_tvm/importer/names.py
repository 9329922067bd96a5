"""What messages and records call the parts of an ONNX model."""

import onnx


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a person feeds: old models list the initializers among the inputs, too."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in initializers]


def node_name(node: onnx.NodeProto) -> str:
    """How messages and records call a node: its name, or its first output's where it has none."""
    return node.name or next(filter(None, node.output), node.op_type)


def described(node: onnx.NodeProto) -> str:
    """A node, with its operator."""
    return f"{node.op_type} (node {node_name(node)!r})"


def opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())


def unique(name: str, used: set[str]) -> str:
    """The name, or it with a number where it is among those used, to which it is added."""
    candidate, count = name, 1
    while candidate in used:
        candidate, count = f"{name}_{count}", count + 1
    used.add(candidate)
    return candidate
