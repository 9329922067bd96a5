"""Products of matrices."""

from __future__ import annotations

from eq_tvm.importer.relay.graph_writer import Value
from eq_tvm.importer.relay.layouts import convert_layout
from eq_tvm.importer.relay.operation import Operation, Rule


def _dense(operation: Operation) -> Value:
    data, weight = operation.value(0), operation.value(1)
    return product(operation, data, weight, transpose_a=False, transpose_b=True)


def _packed_dense(operation: Operation) -> Value:
    layout = operation.get("weight_layout", "NC")
    weight = convert_layout(operation, operation.value(1), layout, "NC")
    return product(operation, operation.value(0), weight, transpose_a=False, transpose_b=True)


def _matmul(*, transpose_b: bool) -> Rule:
    def rule(operation: Operation) -> Value:
        return product(
            operation,
            operation.value(0),
            operation.value(1),
            transpose_a=bool(operation.get("transpose_a", False)),
            transpose_b=bool(operation.get("transpose_b", transpose_b)),
        )

    return rule


def product(operation: Operation, left: Value, right: Value, *, transpose_a: bool, transpose_b: bool) -> Value:
    """A product of floats, with either operand's last two axes exchanged or not."""
    if not left.dtype.startswith("float"):
        raise ValueError(f"it multiplies {left.dtype} of no known scale; save the module before it is quantized")
    if len(left.shape) == len(right.shape) == 2 and not transpose_a and transpose_b:
        return operation.emit("Gemm", [left, right], transB=1)
    return operation.emit("MatMul", [_turned(operation, left, transpose_a), _turned(operation, right, transpose_b)])


def _turned(operation: Operation, value: Value, turn: bool) -> Value:
    axes = list(range(len(value.shape)))
    return operation.transpose(value, [*axes[:-2], axes[-1], axes[-2]]) if turn else value


RULES: dict[str, Rule] = {
    "nn.dense": _dense,
    "nn.contrib_dense_pack": _packed_dense,
    "nn.matmul": _matmul(transpose_b=False),
    "nn.batch_matmul": _matmul(transpose_b=True),
}
