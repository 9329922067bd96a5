"""The operators of the integer program (docs/integer-program.md) on plain numpy arrays, NCHW.

What every kernel, thread count and target must give, bit for bit. Simple on purpose, and independent of passes and
schedules. `interpreter.py` evaluates whole modules with them.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

F32, F64 = np.float32, np.float64


def conv2d_acc(q, w, bias=None, strides=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1) -> np.ndarray:
    """Convolution of integers q (N, I, H, W) and w (O, I / groups, kh, kw), plus bias (O integers): int32, exact.

    `padding` is top, left, bottom, right; padded elements are 0.
    """
    largest = w[0].size * _magnitude(q) * _magnitude(w)  # floats are exact below 2^24 or 2^53
    acc = correlate(q, w, strides, padding, dilation, groups, F32 if largest < 2**24 else F64)
    return int32(acc if bias is None else acc.astype(F64) + np.reshape(bias, (1, -1, 1, 1)))


def dense_acc(q, w, bias=None) -> np.ndarray:
    """Integers q (M, K) times w (K, N), plus bias (N): int32, exact."""
    return int32(q.astype(F64) @ w.astype(F64) + (0 if bias is None else bias))


def avg_pool_acc(q, size, strides, padding, dilation=(1, 1), ceil_mode=False, count_include_pad=False):
    """Sum (int32) over each window, and the number of elements (1, 1, OH, OW) that the average divides it by."""
    geometry = size, strides, padding, dilation, ceil_mode
    ones = np.ones((1, 1, *q.shape[2:]), "int32")
    count = _pool(ones, np.sum, *geometry, fill=int(count_include_pad), fill_ceil=0)
    if not count.all():
        raise ValueError("average pooling over a window without elements")
    return int32(_pool(q.astype("int64"), np.sum, *geometry, fill=0, fill_ceil=0)), count


def max_pool(q, size, strides, padding, dilation=(1, 1), ceil_mode=False) -> np.ndarray:
    """Largest element of each window, padding left aside. Same dtype as `q`, integers or floats."""
    geometry = size, strides, padding, dilation, ceil_mode
    pooled = _pool(q.astype(F64), np.max, *geometry, fill=-np.inf, fill_ceil=-np.inf)
    if np.isneginf(pooled).any():
        raise ValueError("max pooling over a window without elements")
    return pooled.astype(q.dtype)


def resize(q, size, method, coordinates, rounding="", bits=11) -> np.ndarray:
    """Integers (N, C, H, W) to height and width `size`: "nearest_neighbor", or "linear", with weights of `bits`."""
    positions = [[_coordinate(i, n, m, coordinates) for i in range(m)] for n, m in zip(q.shape[2:], size, strict=True)]
    if method == "nearest_neighbor":
        rounding = rounding or ("round" if coordinates == "align_corners" else "floor")
        rows, columns = (
            np.clip([NEAREST[rounding](x) for x in found], 0, n - 1)
            for n, found in zip(q.shape[2:], positions, strict=True)
        )
        return q[:, :, rows][:, :, :, columns]
    across, down = (_weights(n, found, bits) for n, found in zip(q.shape[:1:-1], positions[::-1], strict=True))
    total = np.einsum("hi,ncij,wj->nchw", down, q.astype("int64"), across)
    return (int32(total + 2 ** (2 * bits - 1)) >> (2 * bits)).astype(q.dtype)


NEAREST = {
    "round": round,  # of a Fraction: half to even
    "round_prefer_floor": lambda x: math.ceil(x - Fraction(1, 2)),
    "round_prefer_ceil": lambda x: math.floor(x + Fraction(1, 2)),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _coordinate(i: int, n: int, m: int, mode: str) -> Fraction:
    """Of element i of m, in an axis of n elements; exact."""
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and m > 1):
        return (i + Fraction(1, 2)) * n / m - Fraction(1, 2)
    if mode == "asymmetric":
        return Fraction(i * n, m)
    assert mode in ("align_corners", "pytorch_half_pixel")
    return Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)


def _weights(n: int, positions: list[Fraction], bits: int) -> np.ndarray:
    """Integers (m, n) by which the elements of an axis are multiplied: 2^bits in each row."""
    matrix = np.zeros((len(positions), n), "int64")
    for row, x in zip(matrix, positions, strict=True):
        first = math.floor(x)
        weight = round((x - first) * 2**bits)
        row[min(max(first, 0), n - 1)] += 2**bits - weight
        row[min(max(first + 1, 0), n - 1)] += weight
    return matrix


def requantize(acc, m, lo: int, hi: int) -> np.ndarray:
    """Integers times the float32 multiplier m (broadcast against them), rounded half to even, clipped to [lo, hi]."""
    return np.clip(np.rint(acc.astype(F32) * np.asarray(m, F32)), lo, hi).astype("int32")


def requantize_real(x, scale, lo: int, hi: int) -> np.ndarray:
    """float64 results of a function at the float32 scale: rounded half to even, clipped; NaN becomes 0."""
    steps = np.rint(np.asarray(x, F64) / F64(scale))
    return np.clip(np.where(np.isnan(steps), 0, steps), lo, hi).astype("int32")


def residual(acc, mf, raw, r: int, f: int, lo: int, hi: int) -> np.ndarray:
    """Accumulators acc (multiplier mf) plus activations raw (multiplier r) with f fractional bits, in [lo, hi]."""
    return add_terms(acc_term(acc, mf), raw_term(raw, r), f, lo, hi)


def acc_term(acc, mf) -> np.ndarray:
    """Fixed-point value of accumulators: float32 multiplier mf, broadcast against them."""
    return np.rint(np.clip(acc.astype(F32) * np.asarray(mf, F32), -(2**29), 2**29)).astype("int32")


def raw_term(q, r: int) -> np.ndarray:
    """Fixed-point value of activations: integer multiplier r."""
    return int32(q.astype("int64") * r)


def add_terms(t1, t2, f: int, lo: int, hi: int) -> np.ndarray:
    """Sum of two fixed-point values with f fractional bits, rounded half up, clipped to [lo, hi]."""
    return np.clip(int32(t1.astype("int64") + t2 + (1 << (f - 1))) >> f, lo, hi)


def constant_term(values, scale, f: int) -> np.ndarray:
    """Fixed-point value of a constant's float32 numbers, in steps of the float32 scale."""
    return np.rint(np.clip(np.asarray(values, F64) / F64(scale) * 2.0**f, -(2**29), 2**29)).astype("int32")


def softmax_terms(q, scale, lo: int, hi: int) -> np.ndarray:
    """Of rows of activations in [lo, hi], along the last axis: exponentials of what is left to the largest, int32."""
    i = q.max(-1, keepdims=True) - q
    coarse = F32(np.exp(-F64(scale) * 64 * np.arange((hi - lo) // 64 + 1)) * 2.0**15)
    fine = F32(np.exp(-F64(scale) * np.arange(64)))
    return np.rint(coarse[i // 64] * fine[i % 64]).astype("int32")


def softmax(terms, scale, lo: int, hi: int) -> np.ndarray:
    """Each term's share of its row's sum, in steps of the float32 scale, in [lo, hi]."""
    total = int32(terms.sum(-1, keepdims=True, dtype="int64"))
    return requantize(terms, F32(1 / F64(scale)) / total.astype(F32), lo, hi)


def deviations(q, scale, epsilon: float, centered: bool = True) -> np.ndarray:
    """Of rows of activations, along the last axis: less their mean, in parts of their standard deviation; float32.

    Not centered, the mean counts as 0.
    """
    n = q.shape[-1]
    total, squares = (x.sum(-1, keepdims=True) for x in (q.astype("int64"), q.astype("int64") ** 2))
    total = total if centered else 0 * total
    least = np.clip(np.rint(F64(F32(epsilon)) * (n * n) / (F64(scale) * F64(scale))), 1, 2**52)
    spread = (n * squares - total**2).astype(F64) + least
    return int32(n * q.astype("int64") - total).astype(F32) * (1 / np.sqrt(spread)).astype(F32)


def layer_norm(deviations, gamma, beta, scale, lo: int, hi: int) -> np.ndarray:
    """Deviations times gamma (C,) plus beta (C,), in steps of the float32 scale, in [lo, hi]."""
    f, _ = fixed_point([(np.abs(beta).max().astype(F64) / F64(scale), 1)], max(-lo, hi))
    factor = F32(gamma.astype(F64) / F64(scale) * 2.0**f)
    term = np.rint(np.clip(deviations * factor, -(2**29), 2**29)).astype("int32")
    return add_terms(term, constant_term(beta, scale, f), f, lo, hi)


def fixed_point(ratios: list[tuple[float, int]], room: int = 0) -> tuple[int, list[int]]:
    """f and each r for the raw terms of a residual add, given (float64(s) / float64(s_y), max|q|) of each.

    With an accumulator there is `room` for the result's greatest magnitude beside the raw term.
    """
    for f in range(20, 0, -1):
        r = [int(np.rint(ratio * 2**f)) for ratio, _ in ratios]
        if all(factor * q_max + room * 2**f <= 2**29 for factor, (_, q_max) in zip(r, ratios, strict=True)):
            return f, r
    raise ValueError("a residual add of tensors whose scales are too far apart")


def correlate(x, w, strides, padding, dilation, groups, dtype) -> np.ndarray:
    """Convolution by im2col and matrix products in `dtype`."""
    top, left, bottom, right = padding
    windows = _windows(np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))), w.shape[2:], strides, dilation)
    n, _, height, width, *_ = windows.shape
    columns = windows.transpose(0, 1, 4, 5, 2, 3).astype(dtype).reshape(n, groups, w[0].size, height * width)
    return (w.astype(dtype).reshape(groups, -1, w[0].size) @ columns).reshape(n, len(w), height, width)


def _pool(x, reduce, size, strides, padding, dilation, ceil_mode, fill, fill_ceil) -> np.ndarray:
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    if ceil_mode:  # room for one more window that begins inside
        x = np.pad(x, ((0, 0), (0, 0), (0, strides[0] - 1), (0, strides[1] - 1)), constant_values=fill_ceil)
    return reduce(_windows(x, size, strides, dilation), axis=(4, 5))


def _windows(x, size, strides, dilation) -> np.ndarray:
    """View (N, C, OH, OW, kh, kw) of the windows of x."""
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return windows[:, :, :: strides[0], :: strides[1], :: dilation[0], :: dilation[1]]


def int32(x) -> np.ndarray:
    if _magnitude(x) >= 2**31:
        raise OverflowError("an accumulator does not fit int32")
    return x.astype("int32")


def _magnitude(x) -> int:
    return max(-int(x.min(initial=0)), int(x.max(initial=0)))
