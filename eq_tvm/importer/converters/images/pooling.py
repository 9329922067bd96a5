"""Poolings that TVM lacks or gets wrong: all windows as one axis, which is reduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall


@dataclass(frozen=True)
class _Windows:
    """Elements under each window.

    Attributes
    ----------
    values : relax.Expr
        (batch, channels, *results, elements); where a window leaves the image, some element of it.
    places : numpy.ndarray
        (*results, elements, spatial axes): where in the image each lies.
    inside : numpy.ndarray
        (*results, elements): whether that is in the image.
    """

    values: relax.Expr
    places: np.ndarray
    inside: np.ndarray


def max_pool(call: OnnxCall) -> relax.Expr | None:
    """MaxPool whose second output, the places of the maxima, is used."""
    if len([name for name in call.node.output if name]) < 2:
        return None
    windows = _windows(call)
    shape, dtype = call.shape(0), call.dtype(0)
    lowest = float(np.finfo(dtype).min if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min)
    values = call.builder.emit(_where(windows, lowest, dtype))
    maxima = call.builder.emit(relax.op.max(values, -1))
    strides = _place_strides(shape[2:], bool(call.attributes.get("storage_order", 0)))
    places = relax.const((windows.places @ strides)[None, None], "int64")
    winners = relax.op.expand_dims(relax.op.argmax(values, -1), -1)
    all_places = relax.op.broadcast_to(places, values.ty.shape)
    found = relax.op.squeeze(relax.op.gather_elements(all_places, winners, len(shape)), [-1])
    images = np.arange(shape[0] * shape[1]).reshape(shape[:2] + (1,) * len(shape[2:])) * int(np.prod(shape[2:]))
    return relax.Tuple([maxima, call.builder.emit(relax.op.add(found, relax.const(images, "int64")))])


def lp_pool(call: OnnxCall) -> relax.Expr:
    """LpPool: the p-norm of each window."""
    power = float(call.attributes.get("p", 2))
    magnitudes = relax.op.abs(_where(_windows(call), 0, call.dtype(0)))
    sums = relax.op.sum(relax.op.power(magnitudes, relax.const(power, call.dtype(0))), -1)
    return relax.op.power(sums, relax.const(1 / power, call.dtype(0)))


def max_unpool(call: OnnxCall) -> relax.Expr:
    """MaxUnpool: elements at the flat places of a tensor of zeros."""
    attributes, (batch, channels, *extents) = call.attributes, call.shape(0)
    rank = len(extents)
    strides, pads = attributes.get("strides") or [1] * rank, attributes.get("pads") or [0] * 2 * rank
    results = [
        (extent - 1) * strides[axis] + attributes["kernel_shape"][axis] - pads[axis] - pads[rank + axis]
        for axis, extent in enumerate(extents)
    ]
    zeros = np.zeros(batch * channels * int(np.prod(results)), call.dtype(0))
    places, values = (call.builder.emit(relax.op.reshape(call.operand(i), (-1,))) for i in (1, 0))
    first, last = (relax.const(place, "int64") for place in (0, zeros.size - 1))
    places = relax.op.minimum(relax.op.maximum(places, first), last)  # never written outside of the tensor
    flat = call.builder.emit(relax.op.scatter_elements(relax.const(zeros), places, values, axis=0))
    return relax.op.reshape(flat, (batch, channels, *results))


def _windows(call: OnnxCall) -> _Windows:
    extents = call.shape(0)[2:]
    rank = len(extents)
    positions = _positions(call.attributes, extents)
    value = call.operand(0)
    for axis, (extent, some) in enumerate(zip(extents, positions, strict=True)):
        indices = relax.const(np.clip(some, 0, extent - 1).reshape(-1))
        value = call.builder.emit(relax.op.take(value, indices, 2 + axis, "clip"))
    split = [n for some in positions for n in some.shape]
    value = call.builder.emit(relax.op.reshape(value, (*call.shape(0)[:2], *split)))
    order = [0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2)]
    results = [some.shape[0] for some in positions]
    flat = (*call.shape(0)[:2], *results, int(np.prod(split[1::2])))
    value = call.builder.emit(relax.op.reshape(call.builder.emit(relax.op.permute_dims(value, order)), flat))
    spread = np.broadcast_arrays(
        *(
            some.reshape([n if i % rank == axis else 1 for i, n in enumerate(results + split[1::2])])
            for axis, some in enumerate(positions)
        )
    )
    places = np.stack([some.reshape(*results, -1) for some in spread], -1)
    inside = np.all((places >= 0) & (places < np.array(extents)), -1)
    return _Windows(value, places, inside)


def _positions(attributes: dict[str, Any], extents: Sequence[int]) -> list[np.ndarray]:
    """For each axis (results, kernel): where the windows' elements lie. Windows do not start in the padding's end."""
    rank = len(extents)
    kernel = attributes["kernel_shape"]
    strides, dilations = (attributes.get(name) or [1] * rank for name in ("strides", "dilations"))
    pads = attributes.get("pads") or [0] * 2 * rank
    found = []
    for axis, extent in enumerate(extents):
        before, after, stride = pads[axis], pads[rank + axis], strides[axis]
        left = extent + before + after - (kernel[axis] - 1) * dilations[axis] - 1
        count = (-(-left // stride) if attributes.get("ceil_mode", 0) else left // stride) + 1
        if attributes.get("ceil_mode", 0) and (count - 1) * stride >= extent + before:
            count -= 1
        starts = np.arange(count)[:, None] * stride - before
        found.append(starts + np.arange(kernel[axis]) * dilations[axis])
    return found


def _where(windows: _Windows, outside: float, dtype: str) -> relax.Expr:
    """The elements, with a value in place of those that are not in the image."""
    if windows.inside.all():
        return windows.values
    return relax.op.where(relax.const(windows.inside[None, None]), windows.values, relax.const(outside, dtype))


def _place_strides(extents: Sequence[int], column_major: bool) -> np.ndarray:
    """How far apart in the flat image neighbors along each axis are."""
    ordered = list(extents) if column_major else list(reversed(extents))
    steps = reduce(lambda known, extent: [*known, known[-1] * extent], ordered[:-1], [1])
    return np.array(steps if column_major else steps[::-1])
