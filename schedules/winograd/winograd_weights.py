"""Transformed weights in the order in which a Winograd kernel reads them, and its other constants."""

import numpy as np

from .winograd_form import transformed_weights
from .winograd_plan import WinogradPlan


def constants(
    plan: WinogradPlan, weight: np.ndarray, bias: np.ndarray, multiplier: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the kernel takes besides activations: zeros where a block is not full.

    Parameters
    ----------
    plan : WinogradPlan
    weight : numpy.ndarray
        int8 OIHW, as from `phases`.
    bias : numpy.ndarray
        int32 (O,).
    multiplier : numpy.ndarray
        float32 (O,).

    Returns
    -------
    u : numpy.ndarray
        int16, `plan.weight_shape`.
    bias : numpy.ndarray
        int32 `plan.bias_shape`: factor^2 * bias modulo 2^32.
    multiplier : numpy.ndarray
        float32 (blocks * block,), of 2^shift * acc: dividing by a power of two changes no rounding.
    """
    winograd, ins = plan.winograd, plan.instruction
    u = transformed_weights(winograd, weight).reshape(winograd.alpha**2, *weight.shape[:2])[plan.place_order]
    full = np.zeros((len(u), plan.blocks * plan.block, plan.stride, plan.run), "int16")
    rows = u.reshape(*u.shape[:2], plan.stride, -1)
    full[:, : rows.shape[1], :, : rows.shape[3]] = rows
    full = full.reshape(-1, plan.blocks, plan.tiling.vectors, ins.lanes, plan.steps, ins.chain, ins.pairs)
    factor = pow(winograd.inverse, -1, 2**32) << winograd.shift
    order = (5, 2) if plan.tiling.pieces else (2, 5)
    packed = np.ascontiguousarray(full.transpose(1, 0, 4, *order, 3, 6)).reshape(plan.weight_shape)
    beyond = 0, plan.blocks * plan.block - bias.size
    biases = np.pad((bias.astype("int64") * factor).astype("int32"), beyond)
    if ins.sums:
        packed, biases = _of_sums(plan, packed, biases)
    return (
        packed,
        biases,
        np.pad(multiplier / np.float32(1 << winograd.shift), beyond),
    )


def _of_sums(plan: WinogradPlan, u: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of each two channels in the order in which they are added to the other one's activations, and biases."""
    ins = plan.instruction
    first, second = np.moveaxis(u.reshape(*u.shape[:6], ins.pairs).astype("int64"), 4, 0)
    own = (first * second).sum(axis=(2, 5)).transpose(1, 0, 2, 3).reshape(plan.bias_shape)
    place = np.zeros(plan.bias_shape, "int64")
    place[plan.place_order.index(plan.winograd.alpha + 1)] = bias
    return np.ascontiguousarray(np.flip(u, 4)), (place - own).astype("int32")
