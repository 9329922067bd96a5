"""Products of matrices."""

from __future__ import annotations

from eq_tvm.importer.relay.layouts import convert_layout
from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value


def _dense(operation: Operation) -> Value:
    data, weight = operation.value(0), operation.value(1)
    return product(operation, data, weight, False, True)


def _packed_dense(operation: Operation) -> Value:
    layout = operation.get("weight_layout", "NC")
    weight = convert_layout(operation, operation.value(1), layout, "NC")
    return product(operation, operation.value(0), weight, False, True)


def _matmul(operation: Operation) -> Value:
    turned = (bool(operation.get(name, False)) for name in ("transpose_a", "transpose_b"))
    return product(operation, operation.value(0), operation.value(1), *turned)


def _batch_matmul(operation: Operation) -> Value:
    return product(operation, operation.value(0), operation.value(1), *turned_in_batches(operation))


def turned_in_batches(operation: Operation) -> tuple[bool, bool]:
    """Whether nn.batch_matmul takes its operands' last two axes exchanged.

    Until TVM 0.8 that was always so of the second one, and no attribute; text has no attributes at their defaults,
    which are that neither is. Shapes tell these apart.
    """
    turned_a, turned_b = bool(operation.get("transpose_a", False)), operation.attrs.get("transpose_b")
    if turned_b is None:
        inner = operation.value(0).shape[1 if turned_a else 2]
        turned_b = bool(operation.version) or operation.value(1).shape[1] != inner
    return turned_a, bool(turned_b)


def product(operation: Operation, left: Value, right: Value, transpose_a: bool, transpose_b: bool) -> Value:
    """A product of floats, or of bytes, with either operand's last two axes exchanged or not."""
    if not {left.dtype, right.dtype} - {"int8", "uint8"}:
        operands = [_turned(operation, left, transpose_a), _turned(operation, right, transpose_b)]
        return operation.cast(operation.emit("MatMulInteger", operands), operation.get("out_dtype", "") or left.dtype)
    if not left.dtype.startswith("float"):
        raise ValueError(f"it multiplies {left.dtype} of no known scale; save the module before it is quantized")
    dtype = operation.get("out_dtype", "")
    dtype = dtype if dtype.startswith("float") else left.dtype
    left, right = operation.cast(left, dtype), operation.cast(right, dtype)
    if len(left.shape) == len(right.shape) == 2 and not transpose_a and transpose_b:
        return operation.emit("Gemm", [left, right], transB=1)
    return operation.emit("MatMul", [_turned(operation, left, transpose_a), _turned(operation, right, transpose_b)])


def _turned(operation: Operation, value: Value, turn: bool) -> Value:
    axes = list(range(len(value.shape)))
    return operation.transpose(value, [*axes[:-2], axes[-1], axes[-2]]) if turn else value


def _einsum(operation: Operation) -> Value:
    return operation.emit("Einsum", operation.values(), equation=operation.get("equation", ""))


RULES: dict[str, Rule] = {
    "einsum": _einsum,
    "nn.dense": _dense,
    "nn.contrib_dense_pack": _packed_dense,
    "nn.matmul": _matmul,
    "nn.batch_matmul": _batch_matmul,
}
