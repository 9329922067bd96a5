"""Padding of height and width."""

import numpy as np


def pad_border(x: np.ndarray, padding: tuple[int, ...] | list[int], fill: float) -> np.ndarray:
    """(..., H, W) with so many rows and columns more: above, left, below, right."""
    top, left, bottom, right = padding
    if not any(padding):
        return x
    height, width = x.shape[-2:]
    out = np.full((*x.shape[:-2], top + height + bottom, left + width + right), fill, x.dtype)
    out[..., top : top + height, left : left + width] = x
    return out
