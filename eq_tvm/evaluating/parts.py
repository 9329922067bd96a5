"""The parts in which samples are counted."""

from __future__ import annotations

from eq_tvm.evaluating.counting import Part

EACH = 4  # parts for each worker: what one that ends leaves undone is not much


def parts_of(part: Part, workers: int) -> list[Part]:
    """Samples in parts of nearly equal size, in their order; as many as there are samples at most."""
    start, end = part
    count = min(end - start, EACH * workers)
    return [(start + (end - start) * i // count, start + (end - start) * (i + 1) // count) for i in range(count)]
