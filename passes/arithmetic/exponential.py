"""exp and tanh by additions and multiplications alone: numpy's own differ by what the processor has."""

import math

import numpy as np

# Of float32 and float64: coefficients of the polynomial, the highest first, for |x| <= log(2) / 2; log(2) in two parts,
# of which the first has few bits; the bits of the mantissa, and the bias of the exponent.
_LOG2E = 1 / math.log(2)
_SMALL = (2.0**-4, (-17 / 315, 2 / 15, -1 / 3))  # up to which tanh is a polynomial in float32
_KINDS = {
    np.dtype(np.float32): (7, (0.693359375, -2.12194440e-4), 23, 127, np.int32),
    np.dtype(np.float64): (13, (6.93147180369123816490e-01, 1.90821492927058770002e-10), 52, 1023, np.int64),
}


def exp(x: np.ndarray) -> np.ndarray:
    """The exponential function of float32 or float64, within 2 units in the last place; subnormal results are 0."""
    x = np.asarray(x)
    degree, (high, low), mantissa, bias, integer = _KINDS[x.dtype]
    number = x.dtype.type
    least, greatest = (1 - bias) * math.log(2), (bias + 1) * math.log(2)
    within = np.clip(x, number(least), number(greatest))
    power = np.clip(np.rint(within * number(_LOG2E)), 1 - bias, bias)
    rest = within - power * number(high)
    rest -= power * number(low)
    result = np.full_like(rest, number(1 / math.factorial(degree)))
    for k in reversed(range(degree)):
        result *= rest
        result += number(1 / math.factorial(k))
    power = np.where(np.isnan(power), 0, power)
    with np.errstate(over="ignore"):
        result *= ((power.astype(integer) + bias) << mantissa).view(x.dtype)
    return np.where(x < number(least), number(0), np.where(x >= number(greatest), number(np.inf), result))


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent of float32 or float64: within 2 units in the last place of 1."""
    x = np.asarray(x)
    one, two = x.dtype.type(1), x.dtype.type(2)
    result = np.copysign(one - two / (exp(np.abs(x) * two) + one), x)
    if x.dtype != np.float32:
        return result
    end, coefficients = _SMALL
    near = np.clip(x, np.float32(-end), np.float32(end))
    square = near * near
    small = near + near * square * np.polyval(np.array(coefficients, np.float32), square)
    return np.where(np.abs(x) < np.float32(end), small, result)
