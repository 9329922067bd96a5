"""Sums in fixed point: how many fractional bits there are, and what their terms become."""

from collections.abc import Sequence

import numpy as np

from eq_tvm.schedules.common.epilogue import ACC_LIMIT

FRACTION_BITS = 20  # at most


def fixed_point(terms: Sequence[tuple[np.float64, int]], room: int = 0) -> tuple[int, list[int]]:
    """Fractional bits of a fixed-point sum and the integer scale of each term (docs/integer-program.md, section 4).

    Parameters
    ----------
    terms : sequence of (numpy.float64, int)
        Ratio of the term's scale to the result's, and its greatest absolute value.
    room : int
        Steps of the result that an accumulator may have beyond each term.

    Raises
    ------
    ValueError
        The scales differ too much.
    """
    for bits in range(FRACTION_BITS, 0, -1):
        scales = [int(np.rint(ratio * 2.0**bits)) for ratio, _ in terms]
        most = max(scale * largest for scale, (_, largest) in zip(scales, terms, strict=True))
        if most + room * 2**bits <= ACC_LIMIT:
            return bits, scales
    raise ValueError(
        "a residual add joins tensors whose scales differ too much for 32-bit fixed point: "
        f"ratios {', '.join(f'{ratio:.3g}' for ratio, _ in terms)}"
    )


def normalizing(
    gamma: np.ndarray, beta: np.ndarray, scale: np.float32, limit: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """Fractional bits of a normalization's results up to `limit`, factors (float32) and summands (int32)."""
    largest = np.abs(beta).max().astype("float64") / np.float64(scale)
    bits, _ = fixed_point([(largest, 1)], limit)
    factors = (gamma.astype("float64") / np.float64(scale) * 2.0**bits).astype("float32")
    return bits, factors, fixed(beta, scale, bits)


def least_spread(epsilon: float, count: int, unit: np.float64) -> np.float64:
    """What is added to the spread of a row of `count` integers, each of which stands for `unit`."""
    return np.clip(np.rint(np.float64(np.float32(epsilon)) * count**2 / (unit * unit)), 1, 2.0**52)


def fixed(values: np.ndarray, scale: np.float32, bits: int) -> np.ndarray:
    """A constant as int32, in steps of `scale` with fractional bits."""
    steps = values.astype("float64") / np.float64(scale) * 2.0**bits
    return np.rint(np.clip(steps, -ACC_LIMIT, ACC_LIMIT)).astype("int32")
