"""A network of which the shape of each tensor is known while it is built, so that what comes next can be drawn."""

from __future__ import annotations

import numpy as np
import onnx
from generated import OPSET, Net
from onnx import TensorProto, helper, shape_inference


class ShapedNet(Net):
    """With the inputs x0, x1, ...; `shapes` has each tensor that layers may read: float32, none empty.

    Constants are not in `shapes`, but for those that `held` makes.
    """

    def __init__(self, shapes: list[tuple[int, ...]], seed: int):
        super().__init__(shapes[0])
        self._random = np.random.default_rng(seed)
        self.shapes = {f"x{i}": shape for i, shape in enumerate(shapes)}
        self.inputs = dict(self.shapes)
        self.channels = _Channels(self.shapes)
        self._constants: dict[str, np.ndarray] = {}

    def node(self, kind, *inputs, output="", outputs=1, **attributes):
        made = super().node(kind, *inputs, output=output, outputs=outputs, **attributes)
        node = self.nodes[-1]
        types = {
            name: helper.make_tensor_type_proto(TensorProto.FLOAT, self.shapes[name])
            for name in node.input
            if name in self.shapes
        }
        types |= {
            name: helper.make_tensor_type_proto(
                helper.np_dtype_to_tensor_dtype(self._constants[name].dtype), self._constants[name].shape
            )
            for name in node.input
            if name in self._constants
        }
        known = {
            tensor.name: tensor for tensor in self.weights if tensor.name in node.input and np.prod(tensor.dims) < 1000
        }
        schema = onnx.defs.get_schema(kind, OPSET)
        inferred = shape_inference.infer_node_outputs(
            schema, node, types, known, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        for name, ty in inferred.items():
            self.shapes[name] = tuple(axis.dim_value for axis in ty.tensor_type.shape.dim)
        return made

    def constant(self, value):
        name = super().constant(value)
        self._constants[name] = np.asarray(value)
        return name

    def held(self, value: np.ndarray) -> str:
        """A constant that layers may read as they read computed tensors."""
        name = self.constant(value)
        self.shapes[name] = value.shape
        return name

    def noise(self, *shape: int, around: float = 0.0) -> np.ndarray:
        return (around + 0.5 * self._random.standard_normal(shape)).astype("float32")

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        names = []
        for i, name in enumerate(outputs):
            names.append(self.node("Identity", name, output=f"y{i}"))
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name]) for name in names],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class _Channels(dict):
    """What `Net` asks for: of each tensor axis 1."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        super().__init__()
        self._shapes = shapes

    def __getitem__(self, name):
        return self._shapes[name][1]

    def get(self, name, default=None):
        shape = self._shapes.get(name, ())
        return shape[1] if len(shape) > 1 else default
