"""Weights and bias of a kernel whose instruction multiplies sums, and what has to hold for it to be exact."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..common.overflow import INT32_MAX, Proof
from ..convolution.direct_plan import DirectPlan, pack_channels, pack_weights, weight_runs
from ..processor.sums import SIGN, offset, reached

Array: TypeAlias = npt.NDArray[Any]
BYTE = 255
LINKS = -3  # the axis of packed weights along which are those for the first and for the second activation


def constants(plan: DirectPlan, weight: Array, bias: Array, multiplier: Array, span: tuple[int, int]) -> list[Array]:
    """Weights, bias and multiplier as the kernel reads them.

    Parameters
    ----------
    plan : DirectPlan
    weight : numpy.ndarray
        int8 OIHW.
    bias : numpy.ndarray
        int32 (O,), less what stored activations have too much.
    multiplier : numpy.ndarray
        float32 (O,).
    span : (int, int)
        Range of activations as they are stored.
    """
    p = offset(span, ends(weight))
    packed = np.flip(pack_weights(plan, weight), LINKS).astype("int32")  # each is added to the other one's activation
    packed += np.array([p, p - SIGN], "int32").reshape(2, 1, 1)
    taken = bias.astype("int64") - _own(plan, weight, p)
    return [packed.astype("int8"), pack_channels(plan, taken.astype("int32")), pack_channels(plan, multiplier)]


def ends(weight: Array) -> tuple[int, int]:
    """Their range, with 0: where a run is filled up."""
    return int(weight.min(initial=0)), int(weight.max(initial=0))


def proofs(plan: DirectPlan, span: tuple[int, int], weight: Array, bias: Array) -> tuple[Proof, ...]:
    """That bytes hold the sums, and 32 bits what is added up of their products before the rest is taken back."""
    products = plan.kernel_rows * plan.taps * plan.steps * plan.instruction.pairs
    taken = np.abs(bias.astype("int64") - _own(plan, weight, offset(span, ends(weight)))).max(initial=0)
    return (
        Proof("sums of activations and weights in 8 bits", reached(span, ends(weight)), BYTE),
        Proof("products of sums in 32 bits", 2 * products * BYTE * SIGN + int(taken), INT32_MAX),
    )


def _own(plan: DirectPlan, weight: Array, p: int) -> Array:
    """int64 (O,): what products have of the weights alone, and of the offsets that the activations' part has not."""
    v, w = np.moveaxis(weight_runs(plan, weight)[0].astype("int64"), -2, 0)  # of either activation: see `sums`
    own: Array = (v * w + p * v + (p - SIGN) * w).sum(axis=tuple(range(1, v.ndim)))
    return own
