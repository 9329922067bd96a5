"""Products of matrices that are the same bits in any order of summation."""

import numpy as np

_FLOAT32 = 2**24  # up to which whole numbers are exact in float32
_TINY = 2.0**-900  # rows below it are zeros
_MANTISSA = 53  # bits of float64


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a @ b` in float64, whatever the order in which BLAS adds up.

    Both are rounded to whole numbers of so many bits that all sums of their products are exact: 20 or more each for up
    to 2^13 products. Each row of `b`, and then each row of `a`, has a unit of its own, a power of 2. So the error is
    some 2^-20 of the largest product of a sum, whatever units the operands have.

    Parameters
    ----------
    a : numpy.ndarray (..., M, K)
    b : numpy.ndarray (..., K, N)
        Where one of the two is not finite, the product is numpy's.

    Returns
    -------
    numpy.ndarray (..., M, N) float64
    """
    columns = Rows.of(b, a.shape[-1])
    return columns.product(a)


class Rows:
    """Rows (..., K, N) in whole numbers, with their units: the second operand of products, for several first ones.

    Attributes
    ----------
    whole : numpy.ndarray (..., K, N) float64
        Whole numbers.
    units : numpy.ndarray (..., K, 1) float64
        Powers of 2.
    """

    def __init__(self, whole: np.ndarray, units: np.ndarray, summands: int) -> None:
        self.whole, self.units, self._summands = whole, units, summands

    @classmethod
    def of(cls, rows: np.ndarray, summands: int) -> "Rows":
        """Of real numbers, for sums of so many products."""
        units = units_of(rows, bits(summands) // 2)
        return cls(whole_numbers(rows, units), units, summands)

    def put(self, some: slice, rows: np.ndarray) -> None:
        """Replace some of the rows."""
        self.units[..., some, :] = units = units_of(rows, bits(self._summands) // 2)
        self.whole[..., some, :] = whole_numbers(rows, units)

    def first(self, count: int) -> "Rows":
        """So many rows, as a view."""
        return Rows(self.whole[..., :count, :], self.units[..., :count, :], self._summands)

    def product(self, a: np.ndarray) -> np.ndarray:
        """See `exact_product`."""
        with np.errstate(invalid="ignore", over="ignore"):
            rows = a * np.swapaxes(self.units, -1, -2)
            units = units_of(rows, bits(self._summands, 1) // 2)
            return (whole_numbers(rows, units) @ self.whole) * units


def bits(summands: int, more: int = 0) -> int:
    """Of two whole numbers together, so that sums of so many products are exact in float64."""
    return _MANTISSA - int(summands).bit_length() + more


def integer_bits(summands: int) -> int:
    """Of whole numbers that are multiplied by quantized ones, which have 12 bits at most."""
    return bits(summands) - 12


def units_of(x: np.ndarray, bits: int) -> np.ndarray:
    """Powers of 2 (..., 1), float64, in which the numbers of each row (..., N) are at most `2**bits`."""
    largest = np.maximum(x.max(axis=-1, keepdims=True, initial=0), -x.min(axis=-1, keepdims=True, initial=0))
    _, exponents = np.frexp(np.maximum(largest, _TINY, dtype=np.float64))
    return np.ldexp(1.0, exponents - bits)


def whole_numbers(x: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Numbers in such units, rounded to whole ones, in float64."""
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.multiply(x, 1 / units, dtype=np.float64)
    return np.rint(whole, out=whole)


def sums_of_integers(a: np.ndarray, b: np.ndarray, greatest: float) -> np.ndarray:
    """`a @ b` of whole numbers in float32 where that is exact, else in float64.

    Parameters
    ----------
    a, b : numpy.ndarray (..., M, K), (..., K, N)
        Of whole numbers.
    greatest : float
        No sum of the magnitudes of an element's products is greater.
    """
    dtype = np.float32 if greatest <= _FLOAT32 else np.float64
    return np.matmul(a.astype(dtype, copy=False), b.astype(dtype, copy=False))
