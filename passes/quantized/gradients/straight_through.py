"""Rounding and saturation of activations with what they pass back: Esser et al., LSQ (arXiv 1902.08153)."""

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .compiled import ALIGN, compiled


def quantized(
    x: np.ndarray, scale: np.float32, low: int, high: int, left: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations in steps of a scale, and what their gradients are multiplied by.

    Parameters
    ----------
    x : numpy.ndarray float32
    low, high : int
        Of the integers.
    left : numpy.ndarray of bool or uint8, optional
        In the order of x: which are left as they are.

    Returns
    -------
    result : numpy.ndarray float32
        Of the shape of x, as the next two.
    of_scale : numpy.ndarray float32
        The gradient of the scale is the sum of these times the result's.
    passed : numpy.ndarray float32
        1, or 0 where x saturates.
    """
    flat = np.ascontiguousarray(x.reshape(-1))
    kept = np.zeros(x.size, np.uint8) if left is None else left.reshape(-1).view(np.uint8)
    made = [np.empty(x.size, np.float32) for _ in range(3)]
    _quantize(x.size)(flat, kept, np.array([scale, low, high], np.float32), *made)
    result, of_scale, passed = (each.reshape(x.shape) for each in made)
    return result, of_scale, passed


@compiled
def _quantize(size: int) -> tirx.PrimFunc:
    @T.prim_func
    def quantize(
        x_at: T.handle,
        left_at: T.handle,
        constants_at: T.handle,
        result_at: T.handle,
        of_scale_at: T.handle,
        passed_at: T.handle,
    ) -> None:
        x = T.match_buffer(x_at, (size,), "float32", align=ALIGN)
        left = T.match_buffer(left_at, (size,), "uint8", align=1)
        constants = T.match_buffer(constants_at, (3,), "float32", align=ALIGN)
        result = T.match_buffer(result_at, (size,), "float32", align=ALIGN)
        of_scale = T.match_buffer(of_scale_at, (size,), "float32", align=ALIGN)
        passed = T.match_buffer(passed_at, (size,), "float32", align=ALIGN)
        for i in range(size):
            steps: T.let = x[i] / constants[0]
            inside: T.let = T.min(T.max(steps, constants[1]), constants[2])
            q: T.let = T.nearbyint(inside)
            missed: T.let = T.Select(inside == steps, q - steps, q)
            result[i] = T.Select(left[i] == T.uint8(0), q * constants[0], x[i])
            of_scale[i] = T.Select(left[i] == T.uint8(0), missed, T.float32(0))
            passed[i] = T.Select((inside == steps) | (left[i] != T.uint8(0)), T.float32(1), T.float32(0))

    return quantize
