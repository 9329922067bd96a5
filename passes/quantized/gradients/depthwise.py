"""Depthwise convolutions with what they pass back, image by image and channel by channel."""

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from ..float_operators.convolution import Geometry
from .compiled import ALIGN, compiled


def depthwise(geometry: Geometry, padded: np.ndarray, weight: np.ndarray, extents: tuple[int, int]) -> np.ndarray:
    """Result (N, C, OH, OW) of padded images (N, C, H, W) and weights (C, KH, KW), all float32."""
    result = np.empty((*padded.shape[:2], *extents), np.float32)
    _forward(geometry, padded.shape, extents)(padded, weight, result)
    return result


def depthwise_back(
    geometry: Geometry, padded: np.ndarray, weight: np.ndarray, gradient: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the gradient of a result, those of the padded images and of the weights."""
    of_input = np.zeros_like(padded)
    by_column = np.zeros((*padded.shape[:2], *geometry.kernel, gradient.shape[3]), np.float32)
    _backward(geometry, padded.shape, gradient.shape[2:])(padded, weight, gradient, of_input, by_column)
    return of_input, by_column.sum(axis=(0, 4))


@compiled
def _forward(geometry: Geometry, shape: tuple[int, ...], extents: tuple[int, int]) -> tirx.PrimFunc:
    (count, channels, height, width), (rows, columns) = shape, extents
    (kh, kw), (sy, sx), (dy, dx) = geometry.kernel, geometry.strides, geometry.dilation

    @T.prim_func
    def forward(
        x_at: T.handle,
        weight_at: T.handle,
        result_at: T.handle,
    ) -> None:
        x = T.match_buffer(x_at, (count, channels, height, width), "float32", align=ALIGN)
        weight = T.match_buffer(weight_at, (channels, kh, kw), "float32", align=ALIGN)
        result = T.match_buffer(result_at, (count, channels, rows, columns), "float32", align=ALIGN)
        for n, c, y in T.grid(count, channels, rows):
            for column in range(columns):
                result[n, c, y, column] = T.float32(0)
            for ky, kx in T.grid(kh, kw):
                for column in range(columns):
                    result[n, c, y, column] = (
                        result[n, c, y, column] + x[n, c, y * sy + ky * dy, column * sx + kx * dx] * weight[c, ky, kx]
                    )

    return forward


@compiled
def _backward(geometry: Geometry, shape: tuple[int, ...], extents: tuple[int, int]) -> tirx.PrimFunc:
    (count, channels, height, width), (rows, columns) = shape, extents
    (kh, kw), (sy, sx), (dy, dx) = geometry.kernel, geometry.strides, geometry.dilation

    @T.prim_func
    def backward(
        x_at: T.handle,
        weight_at: T.handle,
        gradient_at: T.handle,
        of_input_at: T.handle,
        of_weight_at: T.handle,
    ) -> None:
        x = T.match_buffer(x_at, (count, channels, height, width), "float32", align=ALIGN)
        weight = T.match_buffer(weight_at, (channels, kh, kw), "float32", align=ALIGN)
        gradient = T.match_buffer(gradient_at, (count, channels, rows, columns), "float32", align=ALIGN)
        of_input = T.match_buffer(of_input_at, (count, channels, height, width), "float32", align=ALIGN)
        of_weight = T.match_buffer(of_weight_at, (count, channels, kh, kw, columns), "float32", align=ALIGN)
        for n, c, y, ky, kx in T.grid(count, channels, rows, kh, kw):
            for column in range(columns):
                of_weight[n, c, ky, kx, column] = (
                    of_weight[n, c, ky, kx, column]
                    + x[n, c, y * sy + ky * dy, column * sx + kx * dx] * gradient[n, c, y, column]
                )
                of_input[n, c, y * sy + ky * dy, column * sx + kx * dx] = (
                    of_input[n, c, y * sy + ky * dy, column * sx + kx * dx]
                    + gradient[n, c, y, column] * weight[c, ky, kx]
                )

    return backward
