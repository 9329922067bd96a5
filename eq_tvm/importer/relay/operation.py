"""A call of an operator, as the rules for operators see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eq_tvm.importer.relay.graph_writer import GraphWriter, onnx_dtype
from eq_tvm.importer.relay.values import Value

Result = Value | tuple["Result", ...]


@dataclass(frozen=True)
class Operation:
    """What is called, with what; rules write it to the graph.

    Attributes
    ----------
    operator : str
    name : str
        Of its nodes.
    args : tuple
        A `Value` for each argument, or a tuple of such.
    attrs : mapping
        As the file has them: what is left out has its default.
    writer : GraphWriter
    version : str
        Of the TVM that wrote the file, as far as it says.
    """

    operator: str
    name: str
    args: tuple[Result, ...]
    attrs: Mapping[str, Any]
    writer: GraphWriter
    version: str = ""

    def value(self, index: int = 0) -> Value:
        """A tensor among the arguments."""
        if index >= len(self.args):
            raise ValueError(f"it has {len(self.args)} arguments, and needs {index + 1}")
        value = self.args[index]
        if not isinstance(value, Value):
            raise ValueError("it takes a tensor, and has a tuple")
        return value

    def values(self, index: int = 0) -> list[Value]:
        """A tuple of tensors among the arguments."""
        fields = self.args[index]
        found = [value for value in fields if isinstance(value, Value)] if isinstance(fields, tuple) else []
        if not isinstance(fields, tuple) or len(found) < len(fields):
            raise ValueError("it takes a tuple of tensors")
        return found

    def array(self, index: int) -> np.ndarray:
        """A constant among the arguments."""
        array = self.value(index).array
        if array is None:
            raise ValueError(f"its argument {index} is not constant; bind the parameters, or use static shapes")
        return array

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        value = self.attrs.get(name)
        return default if value is None else value

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """An attribute that is a list, or one number."""
        value = self.get(name, default)
        if value is None:
            raise ValueError(f"it has no {name}")
        try:
            return [int(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        except (TypeError, ValueError):
            raise ValueError(f"its {name} is {value}, not static; save the module with static shapes") from None

    def emit(self, operator: str, inputs: Sequence[Value | None], **attributes: Any) -> Value:
        """A node with one result."""
        return self.writer.emit(self.name, operator, inputs, **attributes)

    def beside(self, operator: str, inputs: Sequence[Value | None], **attributes: Any) -> Value:
        """A node that only brings operands or results into form: the operation's own has its name."""
        return self.writer.emit(f"{self.name}.{operator}", operator, inputs, **attributes)

    def constant(self, array: Any) -> Value:
        """A constant beside the node."""
        return self.writer.constant(array, f"{self.name}.constant")

    def cast(self, value: Value, dtype: str) -> Value:
        """The value in another dtype."""
        return value if value.dtype == dtype else self.beside("Cast", [value], to=onnx_dtype(dtype))

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """The value with its axes in another order."""
        moved = list(axes) != sorted(axes)
        return self.beside("Transpose", [value], perm=list(axes)) if moved else value

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """The value's elements in another shape."""
        if tuple(shape) == value.shape:
            return value
        return self.beside("Reshape", [value, self.constant(np.array(shape, np.int64))])


Rule = Callable[[Operation], Result]
