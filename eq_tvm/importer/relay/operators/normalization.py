"""Biases and normalizations."""

from __future__ import annotations

import numpy as np

from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value


def along(operation: Operation, vector: Value, axis: int, rank: int) -> Value:
    """A vector as a tensor that broadcasts along an axis."""
    axis %= rank
    return operation.reshape(vector, [vector.shape[0] if vector.shape else 1, *[1] * (rank - axis - 1)])


def _bias_add(operation: Operation) -> Value:
    data, bias = operation.value(0), operation.value(1)
    return operation.emit("Add", [data, along(operation, bias, operation.get("axis", 1), len(data.shape))])


def _moved(operation: Operation, data: Value, axis: int) -> tuple[Value, list[int]]:
    """Channels as the second axis, and the order that takes that back."""
    rank = len(data.shape)
    order = [i for i in range(rank) if i != axis % rank]
    order.insert(1, axis % rank)
    return operation.transpose(data, order), [order.index(i) for i in range(rank)]


def _scale_and_shift(operation: Operation, gamma: Value, beta: Value) -> tuple[Value, Value]:
    if not operation.get("scale", True):
        gamma = operation.constant(np.ones(gamma.shape, gamma.dtype))
    if not operation.get("center", True):
        beta = operation.constant(np.zeros(beta.shape, beta.dtype))
    return gamma, beta


def _batch_norm(operation: Operation) -> tuple[Value, ...]:
    data, back = _moved(operation, operation.value(0), operation.get("axis", 1))
    gamma, beta, mean, variance = (operation.value(index) for index in range(1, 5))
    gamma, beta = _scale_and_shift(operation, gamma, beta)
    epsilon = float(operation.get("epsilon", 1e-5))
    result = operation.emit("BatchNormalization", [data, gamma, beta, mean, variance], epsilon=epsilon)
    return operation.transpose(result, back), mean, variance


def _instance_norm(operation: Operation) -> Value:
    data, back = _moved(operation, operation.value(0), operation.get("axis", 1))
    gamma, beta = _scale_and_shift(operation, operation.value(1), operation.value(2))
    epsilon = float(operation.get("epsilon", 1e-5))
    return operation.transpose(operation.emit("InstanceNormalization", [data, gamma, beta], epsilon=epsilon), back)


def _layer_norm(operation: Operation) -> Value:
    data, axis = operation.value(0), operation.get("axis", -1)
    rank = len(data.shape)
    gamma, beta = _scale_and_shift(operation, operation.value(1), operation.value(2))
    order = [*(i for i in range(rank) if i != axis % rank), axis % rank]
    moved = operation.transpose(data, order)
    epsilon = float(operation.get("epsilon", 1e-5))
    result = operation.emit("LayerNormalization", [moved, gamma, beta], axis=-1, epsilon=epsilon)
    return operation.transpose(result, [order.index(i) for i in range(rank)])


def _group_norm(operation: Operation) -> Value:
    """As instances of each group, then scaled and shifted."""
    data, back = _moved(operation, operation.value(0), operation.get("axis", 1))
    gamma, beta = _scale_and_shift(operation, operation.value(1), operation.value(2))
    groups, rank = int(operation.get("num_groups", 1)), len(data.shape)
    rows = operation.reshape(data, [data.shape[0], groups, -1])
    one, zero = (operation.constant(np.full(groups, fill, data.dtype)) for fill in (1, 0))
    epsilon = float(operation.get("epsilon", 1e-5))
    normal = operation.reshape(operation.emit("InstanceNormalization", [rows, one, zero], epsilon=epsilon), data.shape)
    scaled = operation.emit("Mul", [normal, along(operation, gamma, 1, rank)])
    return operation.transpose(operation.emit("Add", [scaled, along(operation, beta, 1, rank)]), back)


def _lrn(operation: Operation) -> Value:
    data, back = _moved(operation, operation.value(0), operation.get("axis", 1))
    if operation.get("norm_region", "ACROSS_CHANNELS") != "ACROSS_CHANNELS":
        raise ValueError("it normalizes within channels, which ONNX does not have")
    result = operation.emit(
        "LRN",
        [data],
        size=int(operation.get("size", 5)),
        alpha=float(operation.get("alpha", 1e-4)),
        beta=float(operation.get("beta", 0.75)),
        bias=float(operation.get("bias", 2.0)),
    )
    return operation.transpose(result, back)


def _l2_normalize(operation: Operation) -> Value:
    data = operation.value()
    axes = operation.constant(np.array(operation.ints("axis", list(range(len(data.shape)))), np.int64))
    squares = operation.emit("ReduceSum", [operation.emit("Mul", [data, data]), axes], keepdims=1)
    least = operation.constant(np.array(operation.get("eps", 1e-12), data.dtype))
    return operation.emit("Div", [data, operation.emit("Sqrt", [operation.emit("Max", [squares, least])])])


RULES: dict[str, Rule] = {
    "nn.bias_add": _bias_add,
    "nn.batch_norm": _batch_norm,
    "nn.instance_norm": _instance_norm,
    "nn.layer_norm": _layer_norm,
    "nn.group_norm": _group_norm,
    "nn.lrn": _lrn,
    "nn.l2_normalize": _l2_normalize,
}
