"""Bounds of activations on their integers, where other tools make them part of the layer before."""

import numpy as np
import tvm
from tvm import relax

from eq_tvm.passes.graph.rewrite import Graph, NewValues, array, operator_name, rewrite

_HALF = 128


def bound_integers(module: tvm.IRModule) -> tvm.IRModule:
    """The module with relu and clip before `quantize` behind it, and uint8 in the place of int8.

    Quantizing is monotonic, so the integers are the same. ONNX Runtime has integer kernels for a convolution that reads
    and gives one type, and float32 ones else, or where a relu or clip is between that the type does not imply.
    """
    return rewrite(module, _bound)


def _bound(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    """Of a pair with its clip: dequantize(clip(quantize(relu(x))))."""
    if operator_name(value) != "relax.dequantize":
        return None
    clip = graph.sole_call(value.args[0], "relax.clip")
    quantize = graph.sole_call(value.args[0] if clip is None else clip.args[0], "relax.quantize")
    constants = [] if quantize is None else [array(arg) for arg in quantize.args[1:]]
    if quantize is None or any(constant is None or constant.size != 1 for constant in constants):
        return None
    scale, zero, dtype = quantize.args[1], quantize.args[2], str(quantize.attrs.out_dtype)
    step, offset = np.float32(scale.value.numpy().item()), int(zero.value.numpy().item())
    low, high = (
        (np.iinfo(dtype).min, np.iinfo(dtype).max) if clip is None else (int(end.value) for end in clip.args[1:])
    )
    data = quantize.args[0]
    if (activation := graph.sole_call(data, "relax.nn.relu", "relax.clip")) is not None:
        data, ends = activation.args[0], [float(end.value) for end in activation.args[1:]] or [0.0, np.inf]
        least, greatest = (np.clip(np.rint(np.float32(end) / step) + offset, low, high) for end in ends)
        low, high = int(least), int(greatest)
    if dtype == "int8":
        shift = 0 if low >= 0 == offset else _HALF
        low, high, zero = low + shift, high + shift, relax.const(np.uint8(offset + shift))
    if dtype != "int8" and data.same_as(quantize.args[0]):
        return None
    dtype = "uint8" if dtype == "int8" else dtype
    integers = relax.op.quantize(data, scale, zero, axis=-1, out_dtype=dtype)
    if (low, high) != (np.iinfo(dtype).min, np.iinfo(dtype).max):
        integers = relax.op.clip(integers, low, high)
    return {var: relax.op.dequantize(integers, scale, zero, axis=-1, out_dtype="float32")}
