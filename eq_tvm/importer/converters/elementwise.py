"""Element by element: dtypes, attributes and values that TVM's importer computes wrongly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from tvm import relax, te, tirx

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.passes.graph.rewrite import array

_SMALL = ("int8", "uint8")
_TAYLOR_SINH = (1 / 362880, 1 / 5040, 1 / 120, 1 / 6, 1.0)  # below 1, where the difference of exponentials cancels


def _power(call: OnnxCall) -> relax.Expr | None:
    """Of two dtypes, or of integers; as ONNX Runtime, integers by way of float64."""
    base, exponent = call.inputs
    dtypes = call.dtype(0), call.dtype(1)
    if dtypes[0] == dtypes[1] and dtypes[0].startswith("float"):
        return None
    wide = dtypes[0] if all(dtype in (dtypes[0], "int32") for dtype in dtypes) else "float64"
    wide = wide if wide.startswith("float") else "float64"
    base, exponent = (call.builder.emit(relax.op.astype(each, wide)) for each in (base, exponent))
    return relax.op.astype(call.builder.emit(relax.op.power(base, exponent)), dtypes[0])


def _sign(call: OnnxCall) -> relax.Expr | None:
    """Of unsigned integers."""
    if not call.dtype(0).startswith("uint"):
        return None
    return relax.op.minimum(call.inputs[0], relax.const(1, call.dtype(0)))


def _clip(call: OnnxCall) -> relax.Expr | None:
    """Of small integers, as between QuantizeLinear and DequantizeLinear."""
    if call.dtype(0) not in _SMALL or any(b is not None and array(b) is None for b in map(call.operand, (1, 2))):
        return None
    info = np.iinfo(call.dtype(0))
    return relax.op.clip(call.inputs[0], call.number(1, int(info.min)), call.number(2, int(info.max)))


def _is_infinite(call: OnnxCall) -> relax.Expr | None:
    """Of one sign only."""
    signs = [sign for sign in ("positive", "negative") if call.attributes.get(f"detect_{sign}", 1)]
    if len(signs) == 2:
        return None
    bound = -np.inf if signs == ["negative"] else np.inf
    found = call.builder.emit(relax.op.equal(call.inputs[0], relax.const(bound, call.dtype(0))))
    return found if signs else relax.op.zeros(call.shape(0), "bool")


def _equal(call: OnnxCall) -> relax.Expr | None:
    """Of booleans, which TVM compares as floats."""
    if call.dtype(0) != "bool":
        return None
    return relax.op.logical_not(call.builder.emit(relax.op.logical_xor(*call.inputs)))


def _hyperbolic(call: OnnxCall) -> relax.Expr:
    """Cosh and Sinh, which have no instruction in LLVM."""
    is_sine = call.node.op_type == "Sinh"

    def value(x: Any) -> Any:
        half = tirx.exp(tirx.abs(x) / 2)  # its square would overflow before the result does
        large = half * (half * 0.5)
        if not is_sine:
            return large + 0.5 / half / half
        square, series = x * x, tirx.const(0.0, x.ty.dtype)
        for coefficient in _TAYLOR_SINH:
            series = series * square + coefficient
        large = large - 0.5 / half / half
        return tirx.Select(tirx.abs(x) < 1, series * x, tirx.Select(x < 0, -large, large))

    return _mapped(call, value)


def _elu(call: OnnxCall) -> relax.Expr | None:
    """Elu and Selu of float64."""
    if call.dtype(0) != "float64":
        return None
    defaults = {"Elu": (1.0, 1.0), "Selu": (1.67326319217681884765625, 1.05070102214813232421875)}
    alpha, gamma = defaults[call.node.op_type]
    alpha, gamma = call.attributes.get("alpha", alpha), call.attributes.get("gamma", gamma)
    return _mapped(call, lambda x: gamma * tirx.Select(x < 0, alpha * (tirx.exp(x) - 1), x))


def _thresholded_relu(call: OnnxCall) -> relax.Expr | None:
    if call.dtype(0) != "float64":
        return None
    alpha = call.attributes.get("alpha", 1.0)
    return _mapped(call, lambda x: tirx.Select(x > alpha, x, tirx.const(0.0, "float64")))


def _reinterpreted(call: OnnxCall) -> relax.Expr:
    """BitCast, between types of one width."""
    target = str(onnx.helper.tensor_dtype_to_np_dtype(call.attributes["to"]))
    if "bool" in (target, call.dtype(0)):
        return relax.op.astype(call.inputs[0], target)
    return _mapped(call, lambda x: tirx.reinterpret(target, x))


def _mapped(call: OnnxCall, function: Callable[[Any], Any]) -> relax.Expr:
    def compute(x: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *i: function(x(*i)), call.node.op_type.lower())

    return call.builder.call_te(compute, call.inputs[0])


ELEMENTWISE: dict[str, Converter] = {
    "BitCast": _reinterpreted,
    "Clip": _clip,
    "Cosh": _hyperbolic,
    "Elu": _elu,
    "Equal": _equal,
    "IsInf": _is_infinite,
    "Pow": _power,
    "Selu": _elu,
    "Sign": _sign,
    "Sinh": _hyperbolic,
    "ThresholdedRelu": _thresholded_relu,
}
