"""RoiAlign as ONNX Runtime computes it."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from eq_tvm.importer.converters.call import OnnxCall


def roi_align(call: OnnxCall) -> relax.Expr:
    """RoiAlign: regions are scaled before the half pixel is subtracted, and a maximum is one of weighted neighbors.

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
    ratio = attributes.get("sampling_ratio", 0)
    regions = relax.op.multiply(call.operand(1), relax.const(attributes.get("spatial_scale", 1.0), dtype))
    if aligned:
        regions = relax.op.subtract(regions, relax.const(0.5, dtype))
    images = relax.op.astype(relax.op.expand_dims(call.operand(2), 1), dtype)
    regions = call.builder.emit(relax.op.concat([images, call.builder.emit(regions)], 1))
    if mode == "max":
        return call.builder.emit_te(_maxima, call.operand(0), regions, pooled, ratio, aligned)
    return relax.op.vision.roi_align(
        call.operand(0), regions, pooled_size=pooled, spatial_scale=1.0, sample_ratio=ratio, aligned=aligned
    )


def _maxima(data: te.Tensor, regions: te.Tensor, pooled: Any, ratio: int, aligned: bool) -> te.Tensor:
    """The largest product of a neighbor and its weight, among all samples of a bin."""
    dtype = data.dtype
    extents = [int(n) for n in data.shape[2:]]

    def largest(r: Any, c: Any, *bins: Any) -> Any:
        starts, sizes, counts = [], [], []
        for axis in range(2):
            first, last = regions[r, 2 - axis], regions[r, 4 - axis]
            length = last - first if aligned else te.max(last - first, tirx.const(1, dtype))
            size = length / tirx.const(int(pooled[axis]), dtype)
            starts.append(first + bins[axis].astype(dtype) * size)
            sizes.append(size)
            counts.append(tirx.const(ratio, "int32") if ratio > 0 else tirx.ceil(size).astype("int32"))
        samples = [te.reduce_axis((0, count), name=f"sample{axis}") for axis, count in enumerate(counts)]
        places = [
            start + (sample.var.astype(dtype) + tirx.const(0.5, dtype)) * size / count.astype(dtype)
            for start, sample, size, count in zip(starts, samples, sizes, counts, strict=True)
        ]
        image = regions[r, 0].astype("int32")
        return te.max(_weighted(data, image, c, places, extents), axis=samples)

    return te.compute((regions.shape[0], data.shape[1], *pooled), largest, name="roi_align_max")


def _weighted(data: te.Tensor, image: Any, channel: Any, places: Any, extents: list[int]) -> Any:
    """The largest of the four neighbors, each by its weight; 0 outside of the image."""
    dtype, zero = data.dtype, tirx.const(0, data.dtype)
    outside, neighbors = [], []
    for place, extent in zip(places, extents, strict=True):
        outside += [place < tirx.const(-1, dtype), place > tirx.const(extent, dtype)]
        held = te.min(te.max(place, zero), tirx.const(extent - 1, dtype))
        low = held.astype("int32")
        share = held - low.astype(dtype)
        neighbors.append([(low, 1 - share), (te.min(low + 1, tirx.const(extent - 1, "int32")), share)])
    products = [data[image, channel, y, x] * (a * b) for y, a in neighbors[0] for x, b in neighbors[1]]
    value = te.max(te.max(products[0], products[1]), te.max(products[2], products[3]))
    return tirx.if_then_else(tirx.any(*outside), zero, value)
