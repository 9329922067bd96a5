"""Functions of gates in recurrent layers: ONNX's list, as expressions of one float32 element."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from ..common.transcendental import exp, log, tanh


@dataclass(frozen=True)
class GateFunction:
    """A function of one element.

    Attributes
    ----------
    name : str
        A key of `FUNCTIONS`.
    alpha, beta : float
        What it is defined with; 0 where it has none.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Expr) -> Expr:
        """The function's value."""
        function, *_ = FUNCTIONS[self.name]
        return _let(x, lambda x: function(x, self.alpha, self.beta))


def sigmoid(x: Expr) -> Expr:
    """Logistic function."""
    return 0.5 + 0.5 * tanh(0.5 * x)


def clipped(x: Expr, bound: float) -> Expr:
    """The nearest number in [-bound, bound]."""
    return tirx.max(tirx.min(x, _number(bound)), _number(-bound))


def _hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return tirx.max(tirx.min(alpha * x + beta, _number(1)), _number(0))


def _softplus(x: Expr) -> Expr:
    return tirx.max(x, _number(0)) + log(1.0 + exp(-tirx.abs(x)))


def _where(condition: Expr, positive: Expr, other: Expr) -> Expr:
    return tirx.Select(condition, positive, other)


def _number(value: float) -> Expr:
    return tirx.const(value, "float32")


def _let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """`body` of a value that it reads more than once."""
    var = tirx.Var("x", "float32")
    return tirx.Let(var, value, body(var))


# Name in lower case -> the function of (x, alpha, beta), and the default values of those two that it takes
FUNCTIONS: dict[str, tuple[Callable[[Expr, float, float], Expr], float | None, float | None]] = {
    "affine": (lambda x, alpha, beta: alpha * x + beta, 1.0, 0.0),
    "elu": (lambda x, alpha, _: _where(x >= 0.0, x, alpha * (exp(tirx.min(x, _number(0))) - 1.0)), 1.0, None),
    "hardsigmoid": (_hard_sigmoid, 0.2, 0.5),
    "leakyrelu": (lambda x, alpha, _: _where(x >= 0.0, x, alpha * x), 0.01, None),
    "relu": (lambda x, *_: tirx.max(x, _number(0)), None, None),
    "scaledtanh": (lambda x, alpha, beta: alpha * tanh(beta * x), 1.0, 1.0),
    "sigmoid": (lambda x, *_: sigmoid(x), None, None),
    "softplus": (lambda x, *_: _softplus(x), None, None),
    "softsign": (lambda x, *_: x / (1.0 + tirx.abs(x)), None, None),
    "tanh": (lambda x, *_: tanh(x), None, None),
    "thresholdedrelu": (lambda x, alpha, _: _where(x > alpha, x, _number(0)), 1.0, None),
}
