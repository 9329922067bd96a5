"""The tensors of an ONNX graph in the making."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Quantization:
    """The real numbers that integers stand for: (integer - zero_point) * scale, along `axis` if there are several."""

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = -1


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : str
        As Relay and numpy call it.
    array : numpy.ndarray, optional
        Of constants.
    quantization : Quantization, optional
        Of integers of which that is known.
    accumulator : Accumulator, optional
        Of the int32 sums of a quantized layer: these are written only once their scale is known, and `name` is empty.
    real : Value, optional
        Of int32 of a known quantization, the real numbers that were to be quantized, for what can take these as they
        are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    array: np.ndarray | None = None
    quantization: Quantization | None = None
    accumulator: Accumulator | None = None
    real: Value | None = None


@dataclass(frozen=True)
class Accumulator:
    """A layer of integers, not yet written: ONNX wants to know what the sums stand for.

    Relay has the scale of the sums only in the operator that requantizes them, and the bias in between.

    Attributes
    ----------
    data, weight : Value
        Integers, as ONNX's operator takes them.
    data_zero, weight_zero : numpy.ndarray
        Zero points.
    data_scale : float
        What Relay says; exact results need only its product with the weights' scale, which the requantization has.
    weight_axis : int
        That of the output channels.
    axis : int
        That of the channels in the result.
    channels : int
    written : callable
        Writes the layer of real operands: data, weight, bias or None.
    bias : numpy.ndarray, optional
        Integers (channels,).
    after : tuple of callable
        What comes behind the layer, and means the same for the sums and the real numbers: relu, reshape.
    """

    data: Value
    data_zero: np.ndarray
    data_scale: float
    weight: Value
    weight_zero: np.ndarray
    weight_axis: int
    axis: int
    channels: int
    written: Callable[[Value, Value, Value | None], Value]
    bias: np.ndarray | None = None
    after: tuple[Callable[[Value], Value], ...] = ()

    def plus(self, addend: np.ndarray) -> Accumulator:
        """With integers added to the sums, one or one for each channel."""
        before = np.zeros(self.channels, np.int64) if self.bias is None else self.bias
        return replace(self, bias=before + addend.reshape(-1).astype(np.int64))
