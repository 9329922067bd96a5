"""Exponentials and their kin as polynomials: LLVM calls the C library for them, once for each element of a vector.

All are written with additions, multiplications, comparisons and bits, so vectors stay vectors on every processor, and
no library is needed. Within some 1e-7 of the function, relatively (`tanh`, `erf` of small results: absolutely); NaN
stays NaN, and infinities become what they become in C.
"""

import math
from collections.abc import Callable, Sequence

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr


def without_libm(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A function with polynomials in the place of calls to the C library, for float32 elements."""
    return tvm_ffi.structural_map(func, [(Call, _written_out)], order="post")


def exp(x: Expr) -> Expr:
    """Exponential function, by Cephes' polynomial: exp(x) = 2^n exp(r), |r| <= ln(2) / 2.

    What is too large becomes infinite. What would be subnormal is 0: processors take a hundred times longer for such
    numbers, and masks of softmax make many.
    """

    def of(x: Expr) -> Expr:
        bounded = tirx.Select(x <= _GREATEST, _exp_of_bounded(x), x + _number(math.inf))  # NaN stays
        return tirx.Select(x < _LEAST, _number(0), bounded)

    return _let(x, of)


def _exp_of_bounded(x: Expr) -> Expr:
    """Of a number whose exponential is normal, so that n can be added to the exponent's bits."""

    def scaled(rounded: Expr) -> Expr:
        n = tirx.reinterpret("int32", rounded) - tirx.reinterpret("int32", _number(_ROUND))
        return _let(
            _let(rounded - _number(_ROUND), lambda n: (x - n * _number(0.693359375)) + n * _number(2.12194440e-4)),
            lambda r: tirx.reinterpret(
                "float32", tirx.reinterpret("int32", 1.0 + (r + r * r * _polynomial(_EXP, r))) + (n << 23)
            ),
        )

    return _let(x * _number(math.log2(math.e)) + _number(_ROUND), scaled)


_LEAST, _GREATEST = -87.3, 88.7228  # exp of these is normal
_ROUND = 1.5 * 2.0**23  # added to a float32, it leaves the nearest integer in the lowest bits
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


def log(x: Expr) -> Expr:
    """Natural logarithm, by Cephes' polynomial: log(x) = n ln(2) + log(m), sqrt(1/2) <= m < sqrt(2).

    Subnormal numbers, which some processors take for 0, count as the least normal one.
    """
    root = tirx.reinterpret("int32", _number(math.sqrt(0.5)))

    def of_bits(bits: Expr) -> Expr:
        m = tirx.reinterpret("float32", (bits & 0x007FFFFF) + root)
        return _let((bits >> 23).astype("float32"), lambda n: _let(m - 1.0, lambda r: _log_of_parts(n, r)))

    def of(x: Expr) -> Expr:
        finite = _let(tirx.reinterpret("int32", tirx.max(x, _number(_TINY))) - root, of_bits)
        positive = tirx.Select(x == _number(math.inf), x, finite)
        return tirx.Select(x > 0.0, positive, tirx.Select(x == 0.0, _number(-math.inf), _number(math.nan)))

    return _let(x, of)


def _log_of_parts(n: Expr, r: Expr) -> Expr:
    small = r * r * (r * _polynomial(_LOG, r) - 0.5) + n * _number(-2.12194440e-4)
    return (r + small) + n * _number(0.693359375)


_TINY = 2.0**-126
_LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent, within 3e-7: Eigen's rational function.

    TVM has it as ``topi.fast_tanh``, for whole tensors only.
    """
    return _let(
        _clipped(x, -9.0, 9.0),
        lambda x: _let(x * x, lambda square: x * _polynomial(_TANH_ODD, square) / _polynomial(_TANH_EVEN, square)),
    )


_TANH_ODD = (
    *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
    *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
)
_TANH_EVEN = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def erf(x: Expr) -> Expr:
    """Error function, within 3e-7: Eigen's rational function (``topi.fast_erf``, for whole tensors only)."""
    return _let(
        _clipped(x, -4.0, 4.0),
        lambda x: _let(x * x, lambda square: x * _polynomial(_ERF_ODD, square) / _polynomial(_ERF_EVEN, square)),
    )


_ERF_ODD = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_EVEN = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)


def sigmoid(x: Expr) -> Expr:
    """Logistic function."""
    return 1.0 / (1.0 + exp(_number(0) - x))


def power(x: Expr, exponent: Expr) -> Expr:
    """Power by a constant for which multiplications, a root or a reciprocal will do; others are the C library's."""
    make = _POWERS.get(float(exponent.value)) if isinstance(exponent, tirx.FloatImm) else None
    return tirx.pow(x, exponent) if make is None else _let(x, make)


_POWERS: dict[float, Callable[[Expr], Expr]] = {
    -1.0: lambda x: 1.0 / x,
    0.5: lambda x: tirx.sqrt(x),
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
    4.0: lambda x: x * x * (x * x),
}
_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "tirx.exp": exp,
    "tirx.log": log,
    "tirx.tanh": tanh,
    "tirx.erf": erf,
    "tirx.sigmoid": sigmoid,
    "tirx.pow": power,
}


def _written_out(call: Call) -> Expr:
    function = _FUNCTIONS.get(getattr(call.op, "name", ""))
    return call if function is None or str(call.ty.dtype) != "float32" else function(*call.args)


def _clipped(x: Expr, low: float, high: float) -> Expr:
    """The nearest number in [low, high]; NaN stays, which TVM's maximum would replace."""
    return _let(x, lambda x: tirx.Select(x < low, _number(low), tirx.Select(x > high, _number(high), x)))


def _polynomial(coefficients: Sequence[float], x: Expr) -> Expr:
    """From the highest power down."""
    result = _number(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + _number(coefficient)
    return result


def _number(value: float) -> Expr:
    return tirx.const(value, "float32")


def _let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """`body` of a value that it reads more than once."""
    var = tirx.Var("x", value.ty)
    return tirx.Let(var, value, body(var))
