"""Why a kernel is no candidate for a layer at all, whatever its weights: for people, and for the list of candidates."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..convolution.conv2d import Conv2D
from ..processor import instructions
from ..winograd import winograd_form, winograd_plan

Array: TypeAlias = npt.NDArray[Any]

SMALL_MULTIPLIER = 2.0**-100  # divided, it must stay normal


def left_out(
    conv: Conv2D,
    weight_max: int,
    multiplier: Array,
    dtype: str,
    activation_range: tuple[int, int],
    features: Collection[str],
) -> dict[str, str]:
    """Kernels and instructions that are no candidates for a quantized convolution, each with the reason.

    Parameters
    ----------
    conv : Conv2D
    weight_max : int
        Greatest absolute weight.
    multiplier : numpy.ndarray
        float32 (O,).
    dtype : str
        Of the activations as they are stored.
    activation_range : (int, int)
        Least and greatest activation as stored.
    features : collection of str
        What the CPU has: see `instructions.choose`.
    """
    winograd = why_no_winograd(conv, multiplier, dtype, features)
    return {
        **({"Winograd": winograd} if winograd else {}),
        **instructions.passed_over(features, activation_range, weight_max),
    }


def why_no_winograd(conv: Conv2D, multiplier: Array, dtype: str, features: Collection[str]) -> str:
    """Why there are no Winograd candidates; empty where there are. Parameters are those of `left_out`."""
    ins = instructions.choose_int16(features)
    if not any(winograd_plan.fits(conv, form) for form in winograd_form.FORMS):
        return "it is for kernels of 3x3 and 4x4, 5x5 to 8x8 with strides of 2, and so on, without groups or dilation"
    if ins is None:
        return "the processor has no instruction that multiplies 16 bits"
    if ins.isa == "armv7":
        return "the registers of this processor hold too little of a tile"
    if dtype == "int16":
        return "it is for activations in bytes"
    if (np.abs(multiplier) < SMALL_MULTIPLIER).any():
        return "a multiplier is too small to be divided"
    return ""
