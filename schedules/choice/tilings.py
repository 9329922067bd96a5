"""The tilings that a kernel can have: those that keep the accumulators in registers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..common.sizes import largest_divisor
from ..convolution.conv2d import Conv2D
from ..convolution.direct_plan import CHUNKS, TILES, DirectPlan, DirectTiling
from ..processor import amx, ordered, ordered_int16
from ..processor.instruction import Instruction
from ..processor.machine import Machine
from ..rowwise.rowwise_form import RESULTS
from ..rowwise.rowwise_plan import RowwiseTiling
from ..winograd.winograd_form import Winograd
from ..winograd.winograd_plan import WinogradTiling, edges_of, run_of

WIDEST_TILE = 28  # pixels
CHUNK_COUNTS = 4, 2, 7, 5, 3  # that 2 or 4 threads share; many enough to be shared evenly, if odd
FEW_CHANNELS = 16  # from here on a tap's run is long enough by itself
UNPACKING = 3  # registers: a mask, the bytes, what is shifted
NEON_ROOM_OF_SUMS = {1: 8, 2: 4, 3: 2, 4: 2}
NEON_ROOM = {1: 10, 2: 3}  # by vectors; with more, LLVM loads Winograd's weights so early that accumulators are spilled


def direct_tilings(conv: Conv2D, instruction: Instruction, nibbles: bool = False) -> Iterator[DirectTiling]:
    """Tilings of a direct convolution; with `nibbles` those whose weights are packed two to a byte."""
    ins, orders = instruction, layouts(conv, instruction)
    if ins.chains:
        yield from (DirectTiling(ordered.VECTORS, ordered.TILE, im2col=im2col) for im2col in orders)
        return
    if ins.matrix:
        yield from (replace(tiling, im2col=im2col) for tiling in _matrix_tilings(conv, ins) for im2col in orders)
        return
    vectors = -(-(conv.out_channels // conv.groups) // ins.channels)
    for v in _vectors(ins):
        if nibbles and v % 2:
            continue
        if v > max(vectors, _vectors(ins)[0]):
            continue
        for tile in range(ins.pixels, min(conv.out_width + ins.pixels - 1, WIDEST_TILE) + 1, ins.pixels):
            if _registers(v, tile, ins) + nibbles * UNPACKING <= ins.registers:
                yield from (DirectTiling(v, tile, im2col=im2col, nibbles=nibbles) for im2col in orders)


def depths(conv: Conv2D, instruction: Instruction, im2col: bool) -> Iterator[Instruction]:
    """A matrix instruction with the vectors of weights that fill its steps best; others as they are.

    A step takes up to 16 vectors, and any number costs the same. Fewer that divide a run leave nothing to be filled up,
    so that activations are read where they are.
    """
    if not instruction.matrix:
        yield instruction
        return
    channels = conv.in_channels // conv.groups
    runs = [channels * conv.kernel[0] * conv.kernel[1]] if im2col else [channels]
    if not im2col and conv.groups == conv.dilation[1] == 1:
        runs.append(channels * conv.kernel[1])
    for depth in dict.fromkeys(map(_depth, runs)):
        yield replace(instruction, chain=depth // instruction.pairs)


def layouts(conv: Conv2D, instruction: Instruction) -> Sequence[bool]:
    """Whether to copy windows (`DirectTiling.im2col`): the ways to order activations and weights."""
    few = conv.groups == 1 and conv.dilation == (1, 1) and conv.kernel[0] > 1 and conv.in_channels < FEW_CHANNELS
    one = instruction.activation == "float32" or instruction.sums  # of sums, as another stage reads what is copied
    return (False, True) if few and not one else (False,)


def chunk_of(plan: DirectPlan, machine: Machine) -> int:
    """How many rows (tiles of a single row) of pixels to compute with one block's weights.

    One, if all weights fit a cache: each activation is then read once. Else as many as fit the second cache, or a part
    of them; so, too, where the activations do not all fit it, and are copied by chunks.
    """
    conv, places = plan.conv, plan.places
    activations = conv.height * conv.width * conv.in_channels * np.dtype(plan.instruction.activation).itemsize
    fitting = max(1, places * (machine.l2 // 2) // max(activations, 1))
    copied = largest_divisor(places, min(fitting, places // CHUNKS or 1))
    if fitting < places and replace(plan, tiling=replace(plan.tiling, chunk=copied)).copies_by_chunk:
        return copied
    if plan.blocks == 1 or plan.blocks * plan.block_bytes <= machine.l1 // 2:
        few = plan.instruction.lanes_per_channel > 1 and conv.out_height == 1  # tiles whose results are stored together
        return largest_divisor(places, TILES) if few else 1
    return largest_divisor(places, min(fitting, places // _chunks(plan, machine, activations)))


def rowwise_tilings(conv: Conv2D, instruction: Instruction) -> Iterator[RowwiseTiling]:
    """Tilings of a convolution along rows; chunks are of all rows, or of a part of them."""
    ins, pairs, rows = instruction, -(-conv.out_width // RESULTS), conv.out_height
    vectors = -(-conv.out_channels // ins.lanes)
    chunks = dict.fromkeys(largest_divisor(rows, max(1, rows // parts)) for parts in (1, 2, 4, 8, rows))
    for v in _vectors(ins):
        if v > max(vectors, 1):
            continue
        for tile in range(1, min(pairs, WIDEST_TILE) + 1):
            if _registers(v, tile, ins) <= ins.registers:
                yield from (RowwiseTiling(v, tile, chunk) for chunk in chunks)


def _chunks(plan: DirectPlan, machine: Machine, activations: int) -> int:
    """How many chunks there are at least, which threads share.

    One's results then are read by the thread that made them, mostly, where cores have a second cache of their own. Only
    where weights, which each chunk reads again, are fewer; a multiplier of matrices would wait for them.
    """
    conv, weights = plan.conv, plan.conv.groups * plan.blocks * plan.block_bytes
    results = conv.out_height * conv.out_width * conv.out_channels
    if not machine.l3 or plan.instruction.matrix or weights >= activations + results:
        return 1
    return next((count for count in CHUNK_COUNTS if plan.places % count == 0), 1)


def winograd_tilings(conv: Conv2D, winograd: Winograd, instruction: Instruction) -> Iterator[WinogradTiling]:
    """Tilings of a Winograd convolution; those with `pieces` are for processors that keep the order of instructions."""
    rows, cols = -(-conv.out_height // winograd.m), -(-conv.out_width // winograd.m)
    vectors = -(-conv.out_channels // instruction.lanes)
    pieces = 1
    if instruction.neon and not instruction.sums:
        steps = conv.strides[0] * run_of(conv, instruction) // instruction.depth
        pieces = largest_divisor(steps, ordered_int16.STEPS)
    down, across = edges_of(conv, winograd)
    fewest = (rows - (down is not None)) * (cols - (across is not None))
    for chunk in (chunk for chunk in range(1, rows + 1) if rows % chunk == 0):
        edges = chunk == rows and (down, across) != (None, None)
        when = (False, True) if chunk < rows else (True,)  # ahead: else threads would have nothing to share
        for v in range(1, min(vectors, 4) + 1):
            most = min(_winograd_room(v, instruction), chunk * cols)
            for tile in range(max(1, -(-most // 2)), most + 1):
                yield from (WinogradTiling(chunk, tile, v, ahead) for ahead in when)
                if edges:
                    yield WinogradTiling(chunk, tile, v, True, edges=True)
        if pieces == 1:
            continue
        for tile, v in ordered_int16.TILINGS:
            if tile <= chunk * cols and v <= vectors:
                yield from (WinogradTiling(chunk, tile, v, ahead, pieces) for ahead in when)
                if edges and tile <= fewest:
                    yield WinogradTiling(chunk, tile, v, True, pieces, edges=True)


def _matrix_tilings(conv: Conv2D, ins: Instruction) -> Iterator[DirectTiling]:
    """Up to two registers of pixels, side by side or one below the other."""
    vectors, width = -(-(conv.out_channels // conv.groups) // ins.channels), conv.out_width
    parts = dict.fromkeys(-(-width // n) for n in range(1, width + 1))
    side_by_side = dict.fromkeys(part + part % 2 if part > amx.ROWS else part for part in parts)
    for v in (1, 2, 4):  # four can be packed: see `DirectPlan.packs`
        if v > max(vectors, 1):
            continue
        yield from (DirectTiling(v, tile) for tile in side_by_side if tile <= 2 * amx.ROWS)
        if conv.out_height > 1:
            yield from (DirectTiling(v, tile, rows=2) for tile in parts if tile <= amx.ROWS)


def _depth(run: int) -> int:
    """Bytes of a step, so that the fewest steps consume a run; a few more, if they do so exactly."""
    fewest = -(-run // amx.DEPTH)
    exact = (run // steps for steps in range(fewest, fewest + fewest // 3 + 2) if run % (4 * steps) == 0)
    return next(exact, 4 * -(-run // (4 * fewest)))


def _vectors(ins: Instruction) -> Sequence[int]:
    """Of output channels: four channels' lanes are added together; LLVM keeps three vectors of NEON in memory."""
    if ins.lanes_per_channel > 1:
        return (4, 8)
    if ins.pixels > 1:
        return (2, 4, 8, 12)
    return (1, 2, 4) if ins.neon else (1, 2, 3, 4)


def _registers(v: int, tile: int, ins: Instruction) -> int:
    """Vector registers that a tile takes, with what LLVM takes besides (by the assembly)."""
    products = v * tile // ins.pixels
    if ins.pixels > 1:
        return products + tile // ins.pixels * ins.chain + (5 if ins.chain > 1 else 3)
    if ins.lanes_per_channel > 1:
        return 2 * products + v + tile + 2
    if ins.isa == "armv7":
        return 2 * products + 8 if ins.staged else products + v + 7
    if ins.isa == "aarch64":
        return 2 * products + 9 if ins.staged else products + v + 4 if ins.chain == 1 else products + tile + 4 * v
    if ins.sums:  # of either activation a register that spreads it, and one of each sum
        return products + 2 * v + 4
    # A weight that several pixels use is kept in a register; one alone is read by the instruction itself.
    # Beside them is what spreads an activation and, behind an int16 step, the ones that widen; chains hold int16 sums.
    # An instruction that does not add its products takes one more for them.
    needed = products + v + 1 + (not ins.fused) + ins.int16_step if ins.chain == 1 else 2 * products + 2
    return needed + (2 if ins.lanes == 16 and ins.chain > 1 else 0)


def _winograd_room(v: int, ins: Instruction) -> int:
    """Tiles whose accumulators fit beside `v` vectors of weights."""
    if ins.neon:
        return (NEON_ROOM_OF_SUMS if ins.sums else NEON_ROOM).get(v, 0)
    temporaries = v + 4 if ins.sums else 1 if ins.lanes == 16 else 2
    return (ins.registers - v - temporaries) // v
