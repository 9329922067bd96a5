"""BatchNormalization in training mode: by the statistics of what it reads."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, replace_attributes
from eq_tvm.importer.static.specializer import Handler, Specializer


def _batch_norm(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Before operator set 14, more results than one mean training; then ``training_mode`` says it.

    Networks do it that keep no statistics, and those that standardize weights.
    """
    given, more = attributes_of(node), [name for name in node.output[1:] if name]
    if not (given.get("training_mode", 0) if specializer.opset >= 14 else more):
        if len(node.output) == 1:
            return False
        alone = helper.make_node(node.op_type, node.input, node.output[:1], name=node.name)
        alone.attribute.extend(node.attribute)
        replace_attributes(alone, ["training_mode"])
        specializer.visit(alone)
        return True
    data, scale, bias, *running = node.input
    shape = specializer.shape(data)
    across = [axis for axis in range(len(shape)) if axis != 1]
    mean = _mean(specializer, data, across)
    centered = specializer.call("Sub", data, mean)
    variance = _mean(specializer, specializer.call("Mul", centered, centered), across)
    epsilon = specializer.constant(np.float32(given.get("epsilon", 1e-5)))
    deviation = specializer.call("Sqrt", specializer.call("Add", variance, epsilon))
    per_channel = [shape[1], *[1] * (len(shape) - 2)]
    factor, offset = (specializer.reshape(name, per_channel) for name in (scale, bias))
    scaled = specializer.call("Mul", specializer.call("Div", centered, deviation), factor)
    specializer.call("Add", scaled, offset, output=node.output[0])
    if specializer.opset >= 14:  # before, they are left out: nobody reads them
        momentum = given.get("momentum", 0.9)
        for name, old, new in zip(node.output[1:3], running, (mean, variance), strict=False):
            if name:
                parts = [(old, momentum), (specializer.reshape(new, [shape[1]]), 1 - momentum)]
                products = [
                    specializer.call("Mul", part, specializer.constant(np.float32(weight))) for part, weight in parts
                ]
                specializer.call("Add", *products, output=name)
    return True


def _mean(specializer: Specializer, data: str, axes: list[int]) -> str:
    if specializer.opset < 18:
        return specializer.call("ReduceMean", data, axes=axes)
    return specializer.call("ReduceMean", data, specializer.constant(np.array(axes, np.int64)))


HANDLERS: dict[str, Handler] = {"BatchNormalization": _batch_norm}
