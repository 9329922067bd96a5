"""Functions of each element for itself: what they compute, and which of them are functions of one quantized tensor."""

import math
from collections.abc import Callable

import numpy as np
from tvm import relax

from ..arithmetic.exponential import exp, tanh
from .rewrite import array, operator_name, shape

_exact_erf = np.vectorize(math.erf, otypes=[np.float64])
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def _erf(x: np.ndarray) -> np.ndarray:
    """The error function; of float32 within 1e-6 (Abramowitz and Stegun, 7.1.26), as element by element it is slow."""
    if x.dtype != np.float32:
        return _exact_erf(x)
    magnitude = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * magnitude)
    return np.copysign(1 - np.polyval(np.array([*_ERF, 0], np.float32), t) * exp(-magnitude * magnitude), x)


# Of an operator's call and its operands, as arrays of one float type. The integer program defines them in float64.
FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "relax.abs": lambda _, x: np.abs(x),
    "relax.add": lambda _, x, y: x + y,
    "relax.divide": lambda _, x, y: x / y,
    "relax.erf": lambda _, x: _erf(x).astype(x.dtype),
    "relax.exp": lambda _, x: exp(x),
    "relax.log": lambda _, x: np.log(x),
    "relax.maximum": lambda _, x, y: np.maximum(x, y),
    "relax.minimum": lambda _, x, y: np.minimum(x, y),
    "relax.multiply": lambda _, x, y: x * y,
    "relax.negative": lambda _, x: -x,
    "relax.nn.gelu": lambda _, x: x * (1 + _erf(x / math.sqrt(2)).astype(x.dtype)) / 2,
    "relax.nn.gelu_tanh": lambda _, x: x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))) / 2,
    "relax.nn.leakyrelu": lambda call, x: np.where(x < 0, x * float(call.attrs.alpha), x),
    "relax.nn.prelu": lambda _, x, slope: np.where(x < 0, x * slope, x),
    "relax.nn.silu": lambda _, x: x / (1 + exp(-x)),
    "relax.power": lambda _, x, y: np.power(x, y),
    "relax.sigmoid": lambda _, x: 1 / (1 + exp(-x)),
    "relax.sqrt": lambda _, x: np.sqrt(x),
    "relax.subtract": lambda _, x, y: x - y,
    "relax.tanh": lambda _, x: tanh(x),
}
NEVER_NEGATIVE = {"relax.abs", "relax.exp", "relax.nn.relu", "relax.nn.softmax", "relax.sigmoid", "relax.sqrt"}
_BOUNDS = {"relax.nn.relu": (0.0, math.inf)}


def evaluate(call: relax.Call, *operands: np.ndarray | np.floating) -> np.ndarray:
    """The function of `call` on arrays (and numbers) of one float type; what divides by 0 is infinite or NaN."""
    with np.errstate(all="ignore"):
        name = call.op.name
        if name in FUNCTIONS:
            return FUNCTIONS[name](call, *operands)
        low, high = _BOUNDS.get(name) or (float(arg.value) for arg in call.args[1:])
        return np.clip(operands[0], np.float32(low), np.float32(high))


def number(expr: relax.Expr) -> np.float32 | None:
    """The one number that a float32 constant consists of; None for everything else."""
    values = array(expr)
    if values is None or values.dtype != np.float32 or not values.size or values.min() != values.max():
        return None
    return values.flat[0]


def is_pointwise(call: relax.Call) -> bool:
    """Whether each element of a result is a function of the elements of the operands at its place, and of numbers."""
    name = operator_name(call)
    if name == "relax.clip" or name in _BOUNDS:
        return True
    tensors = [arg for arg in call.args if number(arg) is None] if name in FUNCTIONS else []
    return bool(tensors) and all(isinstance(t, relax.Var) and shape(t) == shape(call) for t in tensors)
