"""Integers that numbers of rows are part of, as shapes are.

They are tensors that are computed like all others; but where one decides a shape, what it is bounded by has to be
known. So they are also followed as values, in which placeholders stand for the numbers that the data choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

import numpy as np
import onnx
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, copy_of
from eq_tvm.importer.static.counted import Number, Rows
from eq_tvm.importer.static.specializer import Specializer
from eq_tvm.importer.static.standard import evaluate


def follow_numbers(specializer: Specializer, node: NodeProto) -> bool:
    """Compute a node whose operands are such integers, or constants; False where its result can't be one of them."""
    if not any(name in specializer.numbers for name in node.input):
        return False
    values = {}
    for name in filter(None, node.input):
        value = value_of(specializer, name)
        if value is None:
            return False
        values[name] = value
    try:
        result = _result(specializer, node, values)
    except _UndecidedError:
        return False
    if result is not None:
        set_value(specializer, node.output[0], result)
    return result is not None


def as_tensors(specializer: Specializer, node: NodeProto) -> NodeProto:
    """A node that reads such integers as tensors, which the data decide."""
    return copy_of(node, [_tensor(specializer, name) if name in specializer.numbers else name for name in node.input])


def settle_numbers(specializer: Specializer, outputs: Iterable[str]) -> None:
    """Make tensors of the outputs that are such integers."""
    for name in map(specializer.resolve, outputs):
        if name in specializer.numbers:
            specializer.alias(name, _tensor(specializer, name))


def number_of(specializer: Specializer, rows: Rows) -> Number:
    """How many rows there are."""
    return _number(specializer, rows.count, 0, rows.most)


def value_of(specializer: Specializer, name: str) -> np.ndarray | None:
    """With placeholders; None where that is not known, or has rows, even if those are all the same."""
    if name in specializer.rows:
        return None
    return specializer.numbers[name] if name in specializer.numbers else specializer.value(name)


def set_value(specializer: Specializer, name: str, value: np.ndarray) -> None:
    """Note the value of a tensor, perhaps with placeholders."""
    if not any(int(n) in specializer.counts for n in value.flat):
        specializer.constant(value, name)
        return
    specializer.types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    specializer.numbers[name] = value


def placeholder(specializer: Specializer, number: int | Number) -> int:
    """What stands for a number among others."""
    if isinstance(number, int):
        return number
    found = (place for place, other in specializer.counts.items() if other.tensor == number.tensor)
    place = next(found, _FIRST + len(specializer.counts))
    specializer.counts[place] = number
    return place


def combine(specializer: Specializer, op_type: str, one: int | Number, other: int | Number) -> int | Number:
    """Add, Max, Min or Mul of numbers."""
    compute = _ARITHMETIC[op_type]
    if isinstance(one, int) and isinstance(other, int):
        return compute(one, other)
    if not isinstance(one, Number) or (isinstance(other, Number) and other.tensor < one.tensor):
        one, other = other, one
    assert isinstance(one, Number)
    low, high = (other.least, other.most) if isinstance(other, Number) else (other, other)
    if low < 0 and op_type in ("Add", "Mul"):
        raise _UndecidedError
    if (op_type == "Max" and low >= one.most) or (op_type == "Min" and high <= one.least):
        return other
    if other == _NEUTRAL.get(op_type) or (op_type in ("Max", "Min") and _is_same(one, other)):
        return one
    if (op_type == "Max" and high <= one.least) or (op_type == "Min" and low >= one.most):
        return one
    if other == 0 and op_type == "Mul":
        return 0
    operands = one.tensor, other.tensor if isinstance(other, Number) else _vector(specializer, other)
    name = specializer.once((op_type, *operands), lambda: _computed(specializer, op_type, *operands))
    return _number(specializer, name, compute(one.least, low), compute(one.most, high))


_FIRST = -(1 << 31) + 17  # the first placeholder: nothing else in a shape is so large and negative


class _UndecidedError(Exception):
    """What an operator gives depends on the data, beyond what a `Number` says."""


# Operators that take elements from one place to another, and which of their operands those are; None: all
_MOVING: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Cast", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze"), (0,)),
    **dict.fromkeys(("Transpose", "Unsqueeze"), (0,)),
    "Concat": None,
    "Where": (1, 2),
}
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Max": max,
    "Min": min,
    "Mul": lambda a, b: a * b,
}
_NEUTRAL = {"Add": 0, "Max": 0, "Mul": 1}
_REDUCING = {"ReduceMax": "Max", "ReduceMin": "Min", "ReduceProd": "Mul", "ReduceSum": "Add"}
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def _computed(specializer: Specializer, op_type: str, one: str, other: str) -> str:
    if op_type in ("Add", "Mul"):
        return specializer.call(op_type, one, other)
    smaller = specializer.call("Less", one, other)  # Min and Max do not take integers before operator set 12
    return specializer.call("Where", smaller, *((one, other) if op_type == "Min" else (other, one)))


def _result(specializer: Specializer, node: NodeProto, values: dict[str, np.ndarray]) -> np.ndarray | None:
    kind, operands = node.op_type, [values[name] for name in node.input if name]
    given = attributes_of(node)
    if kind in _MOVING:
        moved = _MOVING[kind]
        fixed = [name for i, name in enumerate(node.input) if moved is not None and i not in moved]
        if any(name in specializer.numbers for name in fixed) or given.get("to", _INTEGERS[0]) not in _INTEGERS:
            return None
        results = evaluate(node, values, specializer.domains)
        return None if results is None else results[node.output[0]]
    numbers = [_numbers(specializer, operand) for operand in operands]
    if kind in _ARITHMETIC:
        result = numbers[0]
        for other in numbers[1:]:
            result = _each(specializer, kind)(result, other)
        return _placed(specializer, result, operands[0].dtype)
    if kind in _REDUCING:
        axes = given.get("axes", operands[1].tolist() if len(operands) > 1 else None)
        if axes is not None and len(axes) == 0 and given.get("noop_with_empty_axes", 0):
            return operands[0]
        return _placed(specializer, _reduced(specializer, kind, numbers[0], axes, given), operands[0].dtype)
    if kind == "Equal":
        return np.asarray(np.frompyfunc(_equal, 2, 1)(*numbers), bool)
    return None


def _reduced(
    specializer: Specializer, kind: str, numbers: np.ndarray, axes: list[int] | None, given: dict[str, int]
) -> np.ndarray:
    for axis in sorted({axis % numbers.ndim for axis in axes or range(numbers.ndim)}, reverse=True):
        if not numbers.shape[axis]:
            raise _UndecidedError
        reduced = np.asarray(_each(specializer, _REDUCING[kind]).reduce(numbers, axis), object)
        numbers = np.expand_dims(reduced, axis) if given.get("keepdims", 1) else reduced
    return numbers


def _equal(one: int | Number, other: int | Number) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    bounds = [(n.least, n.most) if isinstance(n, Number) else (n, n) for n in (one, other)]
    if _is_same(one, other):
        return True
    if max(low for low, _ in bounds) > min(high for _, high in bounds):
        return False
    raise _UndecidedError


def _is_same(one: int | Number, other: int | Number) -> bool:
    return isinstance(one, Number) and isinstance(other, Number) and one.tensor == other.tensor


def _each(specializer: Specializer, op_type: str) -> np.ufunc:
    return np.frompyfunc(lambda one, other: combine(specializer, op_type, one, other), 2, 1)


def _numbers(specializer: Specializer, value: np.ndarray) -> np.ndarray:
    """With what placeholders stand for."""
    numbers = np.empty(value.shape, object)
    for at, n in np.ndenumerate(value):
        numbers[at] = specializer.counts.get(int(n), int(n))
    return numbers


def _placed(specializer: Specializer, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    numbers = np.asarray(numbers, object)
    return np.array([placeholder(specializer, n) for n in numbers.flat], dtype).reshape(numbers.shape)


def _number(specializer: Specializer, tensor: str, least: int, most: int) -> Number:
    """By the narrowest bounds that are known of the tensor."""
    for other in specializer.counts.values():
        if other.tensor == tensor:
            least, most = max(least, other.least), min(most, other.most)
    return Number(tensor, least, most)


def _tensor(specializer: Specializer, name: str) -> str:
    value = specializer.numbers[name]

    def computed() -> str:
        parts = []
        for counted, run in groupby(value.reshape(-1).tolist(), specializer.counts.get):
            if counted is None:
                parts.append(specializer.constant(np.array(list(run), np.int64)))
            else:
                parts += [counted.tensor for _ in run]
        whole = specializer.call("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        cast = whole if dtype == onnx.TensorProto.INT64 else specializer.call("Cast", whole, to=dtype)
        return cast if value.ndim == 1 else specializer.reshape(cast, value.shape)

    return specializer.once(("tensor", name), computed)


def _vector(specializer: Specializer, number: int) -> str:
    return specializer.once(("vector", number), lambda: specializer.constant(np.array([number], np.int64)))
