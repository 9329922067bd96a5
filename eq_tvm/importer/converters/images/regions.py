"""RoiAlign as ONNX Runtime computes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from tvm import relax, te, tirx

from eq_tvm.importer.converters.call import OnnxCall


def roi_align(call: OnnxCall) -> relax.Expr:
    """RoiAlign: TVM's subtracts the half pixel before it scales, interpolates maxima, leaves empty regions undefined.

    Raises
    ------
    ValueError
        Unknown modes.
    """
    attributes = call.attributes
    mode = attributes.get("mode", "avg")
    default = "half_pixel" if call.opset >= 16 else "output_half_pixel"
    coordinates = attributes.get("coordinate_transformation_mode", default)
    if mode not in ("avg", "max") or coordinates not in ("half_pixel", "output_half_pixel"):
        raise ValueError(f"its modes {mode!r} and {coordinates!r} are not what ONNX defines")
    aligned, dtype = coordinates == "half_pixel", call.dtype(0)
    pooled = (attributes.get("output_height", 1), attributes.get("output_width", 1))
    regions = relax.op.multiply(call.operand(1), relax.const(attributes.get("spatial_scale", 1.0), dtype))
    if aligned:
        regions = relax.op.subtract(regions, relax.const(0.5, dtype))
    ratio = attributes.get("sampling_ratio", 0)
    operands = [call.operand(0), call.builder.emit(regions), call.operand(2)]
    return call.builder.emit_te(
        lambda data, rois, images: _pooled(data, rois, images, pooled, ratio, aligned, mode),
        *operands,
        primfunc_name_hint="roi_align",
    )


def _pooled(
    data: te.Tensor, regions: te.Tensor, images: te.Tensor, pooled: Any, ratio: int, aligned: bool, mode: str
) -> te.Tensor:
    """The mean of all samples of a bin, or the largest product of a neighbor and its weight."""
    dtype = data.dtype
    one = tirx.const(1, dtype)

    def bin_of(r: Any, c: Any, *bins: Any) -> Any:
        places, counts, samples = [], [], []
        for axis in range(2):
            first, last = regions[r, 1 - axis], regions[r, 3 - axis]
            length = last - first if aligned else te.max(last - first, one)
            size = length / tirx.const(int(pooled[axis]), dtype)
            count = tirx.const(ratio, "int32") if ratio > 0 else tirx.ceil(size).astype("int32")
            least = te.max(count, tirx.const(1, "int32"))  # a loop over nothing would not even write zeros
            sample = te.reduce_axis((0, least), name=f"sample{axis}")
            center = (sample.var.astype(dtype) + tirx.const(0.5, dtype)) * size / least.astype(dtype)
            places.append(first + bins[axis].astype(dtype) * size + center)
            counts.append(count)
            samples.append(sample)
        last = tirx.const(int(data.shape[0]) - 1, images.dtype)  # of a region that there is not, any number may come
        image = te.max(te.min(images[r], last), tirx.const(0, images.dtype)).astype("int32")
        products = _neighbors(data, image, c, places)
        empty = tirx.any(*(count <= 0 for count in counts))
        if mode == "max":
            return te.max(tirx.if_then_else(empty, tirx.const(0, dtype), reduce(te.max, products)), axis=samples)
        share = one / (samples[0].dom.extent * samples[1].dom.extent).astype(dtype)
        mean = reduce(lambda a, b: a + b, products) * share
        return te.sum(tirx.if_then_else(empty, tirx.const(0, dtype), mean), axis=samples)

    return te.compute((regions.shape[0], data.shape[1], *pooled), bin_of, name="roi_align")


def _neighbors(data: te.Tensor, image: Any, channel: Any, places: Sequence[Any]) -> list[Any]:
    """The four neighbors of a place, each by its weight; 0 outside of the image."""
    dtype, zero = data.dtype, tirx.const(0, data.dtype)
    outside, neighbors = [], []
    for place, extent in zip(places, map(int, data.shape[2:]), strict=True):
        outside += [place < tirx.const(-1, dtype), place > tirx.const(extent, dtype)]
        held = te.min(te.max(place, zero), tirx.const(extent - 1, dtype))
        low = held.astype("int32")
        share = held - low.astype(dtype)
        neighbors.append([(low, 1 - share), (te.min(low + 1, tirx.const(extent - 1, "int32")), share)])
    products = [data[image, channel, y, x] * (a * b) for y, a in neighbors[0] for x, b in neighbors[1]]
    return [tirx.if_then_else(tirx.any(*outside), zero, product) for product in products]
