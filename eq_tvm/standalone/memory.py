"""The static memory plan: where in one workspace each buffer lies, so that buffers that never meet share memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eq_tvm.standalone.program import Program

ALIGNMENT = 64  # bytes: what TVM's kernels take for granted


@dataclass(frozen=True)
class Lifetime:
    """A buffer of `size` bytes that must hold its contents from call `first` to call `last`, both included."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are needed at some time."""
        return self.first <= other.last and other.first <= self.last


def lifetimes(program: Program) -> dict[int, Lifetime]:
    """When each buffer that is not constant is needed. Inputs are there before call 0, outputs behind the last one."""
    spans = {buffer: [0, 0] for buffer in program.inputs}
    for index, (_, arguments) in enumerate(program.calls):
        for buffer in arguments:
            spans.setdefault(buffer, [index, index])[1] = index
    for buffer in program.outputs:
        spans.setdefault(buffer, [0, 0])[1] = len(program.calls)
    return {
        buffer: Lifetime(program.sizes[buffer], first, last)
        for buffer, (first, last) in spans.items()
        if buffer not in program.constants
    }


def plan(buffers: Mapping[int, Lifetime]) -> tuple[dict[int, int], int]:
    """An offset for each buffer, and the bytes of all together; offsets are multiples of `ALIGNMENT`.

    The largest first, each at the lowest place that is free for as long as it lives.
    """
    offsets: dict[int, int] = {}
    for buffer in sorted(buffers, key=lambda b: (-buffers[b].size, buffers[b].first, b)):
        offset = 0
        for other in sorted((o for o in offsets if buffers[o].meets(buffers[buffer])), key=offsets.__getitem__):
            if offset + buffers[buffer].size <= offsets[other]:
                break
            offset = max(offset, aligned(offsets[other] + buffers[other].size))
        offsets[buffer] = offset
    return offsets, max((aligned(offsets[b] + buffers[b].size) for b in offsets), default=0)


def aligned(size: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT
