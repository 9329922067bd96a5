"""A model of what kernels cost, in cycles of one core: good enough to choose between kernels and tilings.

It counts, for the innermost loop, what the slowest of multipliers, loads and instruction issue needs; adds what each
tile, each stored vector and each transformed tile costs; and adds the traffic of weights that do not stay in a cache.
"""

from collections import Counter

import numpy as np

from ..convolution.direct_plan import DirectPlan
from ..processor import amx
from ..processor.instruction import Instruction
from ..processor.machine import Machine
from ..processor.sums import QUADS
from ..rowwise.rowwise_form import PLACES, RESULTS
from ..rowwise.rowwise_plan import RowwisePlan
from ..sums.pixels import groups
from ..winograd.winograd_plan import WinogradPlan

# Bytes per cycle, on top of what is hidden behind the multiplications. Cold: weights that the network's other layers
# have driven out since the last run. Spilled: what a kernel writes and reads again, beyond the second cache.
L2_BYTES, L3_BYTES, FAR_BYTES, SPILLED_BYTES, COLD_BYTES = 64.0, 24.0, 12.0, 12.0, 5.0
EXPOSED = 0.4  # of the time that cold weights take, or the multiplications, the part that does not overlap

# Activations that are copied: bytes per cycle to pad them, instructions for a kernel row of a window (im2col).
COPIED_BYTES, ROW_COPIED = 4.0, 5.0

# The innermost loop.
LOOP = 4.0  # cycles for a loop over steps
SPREAD = 0.5  # cycles of the multipliers to spread a value over a vector, on a processor that issues faster than loads
HALVES = 0.8  # cycles that multipliers wait for rows of 8 bytes, loaded into halves of a register
WIDENING = 0.8  # of a link of an int16 chain
WAY, LINE = 4096, 64  # bytes of a way of x86's first cache, and of a line
EVICTED = 3.0  # cycles of a step for each of the tile's pixels for which their set of the first cache has no way
# In assembly: cycles until the first activations and weights are there, to go on with others, to add up what a tile's
# lanes hold.
ORDERED_START, ORDERED_LINK, ORDERED_TILE = 15.0, 0.9, 14.0

# A tile, and its results.
PER_TILE = 8.0  # cycles
STORE, PACKED_STORE = {16: 4.5, 8: 2.5}, 3.0  # cycles for a vector of results, by its lanes
NEON_STORE = 7.0  # instructions for a vector of results

# What a pixel multiplies by itself, where sums are multiplied: instructions for a vector, for four products one by one;
# cycles to add up.
PIXEL_STEP, PIXEL_SCALARS, PER_PIXEL = 7.0, 16.0, 6.0
TAKEN = 1.0  # cycles to take it from a vector of Winograd's products

# Along rows: cycles to pad and transform a vector of a pair's activations, and instructions of NEON; those that combine
# its products.
ROW_TRANSFORMED, NEON_ROW_TRANSFORMED, ROW_COMBINED = 70.0, 20.0, 8.0
ROW_APPENDED = 1.0  # cycles for a channel of a pixel

# Winograd, by the bits of a vector: x86 has more ports for 256 than for 512.
PRODUCT = {128: 40.0, 256: 10.0, 512: 40.0}  # cycles for a tile of one of the products: zeros, stores, and a loop's end
EFFICIENCY = {128: 0.87, 256: 1.0, 512: 0.87}  # of the matrix products, which are short
V_BYTES = {128: 64.0, 256: 24.0, 512: 64.0}  # per cycle at which blocks of channels read all transformed activations
# Cycles to transform a tile: for a vector of input channels (16 bits), for a vector of accumulators with its stores.
TRANSFORMS = {
    512: {2: (60.0, 80.0), 3: (200.0, 180.0), 4: (200.0, 240.0)},
    256: {2: (30.0, 50.0), 3: (90.0, 110.0), 4: (90.0, 150.0)},
}
NEON_TRANSFORMS = {2: (180.0, 220.0), 3: (600.0, 500.0), 4: (600.0, 700.0)}  # instructions, for two registers
EDGES = 1.6  # times as long where tiles at the edges are others, whose places are transformed by parts
PHASES = 1.0  # cycles to put an activation where its phase has it


def direct_cycles(plan: DirectPlan, machine: Machine) -> float:
    """Estimated cycles of a direct convolution."""
    conv, ins, tiling = plan.conv, plan.instruction, plan.tiling
    v, tile = tiling.vectors, tiling.tile
    steps = plan.kernel_rows * plan.taps * plan.steps
    tiles = conv.batch * conv.groups * (plan.padded_rows // tiling.rows) * (plan.padded_columns // tile)
    inner = steps * step_cycles(v, tile * tiling.rows, ins, machine, plan.beyond_l1, plan.unrolled, tiling.nibbles)
    if not ins.neon and not ins.matrix:
        inner += steps * EVICTED * _crowded(plan, machine.l1 // WAY)
    if plan.beyond_l1 and not ins.matrix:
        fetched = plan.block_bytes / L2_BYTES
        # Floats are four times as large, but multiplied one by one: fetching them hides behind that.
        inner = max(inner, fetched) if ins.activation == "float32" else inner + fetched
    loops = 0 if plan.unrolled else plan.kernel_rows * plan.taps
    inner += PER_TILE + loops * LOOP + _stored(plan, machine) + (ORDERED_TILE if ins.chains else 0)
    copied: float = conv.height * conv.width * conv.in_channels if plan.copies_for_tiles else 0
    if tiling.im2col:
        tiles_copied = conv.batch * plan.padded_rows * plan.padded_columns * conv.kernel[0]
        copied += tiles_copied * (ROW_COPIED + plan.row / 16) * COPIED_BYTES / min(machine.issue, 2)
    whole = plan.block_bytes * plan.blocks * conv.groups
    cycles = _overlapped(tiles * plan.blocks * inner, whole / COLD_BYTES) + copied / COPIED_BYTES
    return cycles + _of_pixels(plan, machine) if ins.sums else cycles


def _of_pixels(plan: DirectPlan, machine: Machine) -> float:
    """Cycles for what pixels multiply by themselves, where sums are multiplied."""
    runs = plan.conv.batch * plan.padded_rows * plan.padded_columns
    return runs * (plan.kernel_rows * plan.taps * _own(plan.steps, machine) + PER_PIXEL)


def _own(steps: int, machine: Machine) -> float:
    """Cycles for what so many steps' activations multiply among themselves."""
    count = groups(steps)
    return steps / count * (PIXEL_STEP if count in QUADS else PIXEL_SCALARS * count) / machine.issue


def winograd_cycles(plan: WinogradPlan, machine: Machine) -> float:
    """Estimated cycles of a Winograd convolution."""
    conv, winograd, instruction, tiling = plan.conv, plan.winograd, plan.instruction, plan.tiling
    places, tiles = winograd.alpha**2, conv.batch * plan.rows * plan.cols
    block, blocks, chunks = plan.block, plan.blocks, conv.batch * plan.chunks
    bits = 128 if instruction.neon else 32 * instruction.lanes
    if tiling.pieces:
        step = 16 * tiling.vectors * tiling.tile + ORDERED_START / tiling.pieces + 2
    else:
        step = step_cycles(tiling.vectors, tiling.tile, instruction, machine, plan.beyond_l1) / EFFICIENCY[bits]
    groups_of_tiles = sum(part.places * (part.padded_tiles // part.tile) for part in plan.parts)
    product = groups_of_tiles * chunks * blocks * (plan.steps * step + PRODUCT[bits])
    if instruction.neon:
        into, out = (count / _arithmetic(machine) for count in NEON_TRANSFORMS[winograd.m])
    else:
        into, out = TRANSFORMS[bits][winograd.m]
    transforms = chunks * plan.padded_tiles * -(-plan.channels // (2 * instruction.lanes)) * into
    if plan.stride > 1:
        transforms += _copied_rows(plan) * plan.cols * winograd.m * plan.channels * PHASES
    transforms += tiles * blocks * tiling.vectors * out
    if tiling.edges:
        transforms *= EDGES
    if instruction.sums:
        transforms += chunks * places * plan.padded_tiles * (_own(plan.steps, machine) + PER_PIXEL)
        transforms += tiles * blocks * tiling.vectors * places * TAKEN
    v_bytes = plan.v_bytes * (plan.chunks if tiling.ahead else 1)
    m_bytes = 4 * places * plan.padded_tiles * block
    weight_bytes = places * blocks * plan.block_bytes
    local = m_bytes + v_bytes
    weights = weight_bytes / COLD_BYTES + (chunks - 1) * weight_bytes / _rate(weight_bytes + local, machine)
    product = _overlapped(product, weights) if plan.tiles > tiling.tile else product + weights
    # V is fetched ahead, too; M is not.
    near = _near(local, machine)
    fetched = V_BYTES[bits] if v_bytes <= machine.l3 // 4 else min(near, V_BYTES[bits])
    spilled = chunks * blocks * (plan.v_bytes / fetched + 2 * m_bytes / _near(m_bytes + plan.v_bytes, machine))
    return product + transforms + spilled


def _copied_rows(plan: WinogradPlan) -> int:
    """Of padded activations: each chunk pads its own, those around it, too."""
    around = plan.winograd.taps - 1
    once = plan.rows * plan.winograd.m + (around if plan.tiling.ahead else plan.chunks * around)
    return plan.conv.batch * once


def _near(size: int, machine: Machine) -> float:
    """Bytes per cycle of what is written and read again, not fetched ahead."""
    if size <= 0.7 * machine.l2:
        return L2_BYTES
    return SPILLED_BYTES if size <= machine.l3 // 4 else COLD_BYTES


def rowwise_cycles(plan: RowwisePlan, machine: Machine) -> float:
    """Estimated cycles of a convolution along rows: see `rowwise`."""
    conv, ins, tiling = plan.conv, plan.instruction, plan.tiling
    v, tile, bits = tiling.vectors, tiling.tile, 32 * ins.lanes
    step = step_cycles(v, tile, ins, machine, plan.beyond_l1)
    inner = plan.steps * step + LOOP + PRODUCT[bits] + PER_TILE
    if plan.beyond_l1 and not ins.neon:
        inner += plan.block_bytes / L2_BYTES
    tiles = conv.batch * conv.out_height * (plan.pairs // tile)
    whole = plan.blocks * PLACES * plan.block_bytes
    product = _overlapped(tiles * plan.blocks * PLACES * inner, whole / COLD_BYTES)
    arithmetic = _arithmetic(machine) if ins.neon else machine.issue / 2
    transformed = NEON_ROW_TRANSFORMED / arithmetic if ins.neon else ROW_TRANSFORMED
    vectors = -(-plan.channels // (4 * ins.lanes)) * transformed + RESULTS * ROW_APPENDED * len(plan.appended)
    into = conv.batch * plan.stored_rows * plan.pairs * vectors
    out = conv.batch * conv.out_height * plan.pairs * plan.blocks * v
    store = NEON_STORE / arithmetic if ins.neon else STORE[ins.lanes]
    m_bytes = 4 * PLACES * tiling.chunk * plan.pairs * plan.block
    chunks = conv.batch * plan.chunks
    spilled = chunks * (plan.blocks * 2 * m_bytes / _rate(m_bytes, machine) + whole / _rate(whole, machine))
    return product + into + out * (ROW_COMBINED / arithmetic + RESULTS * store) + spilled


def step_cycles(
    vectors: int,
    tile: int,
    ins: Instruction,
    machine: Machine,
    beyond_l1: bool,
    unrolled: bool = False,
    nibbles: bool = False,
) -> float:
    """Cycles of one step of the innermost loop.

    Parameters
    ----------
    vectors, tile : int
        See `DirectTiling`.
    ins : Instruction
    machine : Machine
    beyond_l1 : bool
        Whether the step fetches its weights: see `prefetch`.
    unrolled : bool
        Whether the instruction that multiplies reads the weights, too: see `DirectPlan`.
    nibbles : bool
        Whether two weights are unpacked from each byte.
    """
    if ins.chains:
        return ORDERED_START + ORDERED_LINK * ins.links + vectors * tile * (2 * ins.links + len(ins.chains))
    if ins.matrix:
        return _matrix_step(vectors, tile, ins, machine, beyond_l1)
    if ins.neon:
        return _neon_step(vectors, tile, ins, machine, nibbles)
    products, weights, activations = vectors * tile, vectors * ins.chain, tile * ins.chain
    unpack = _unpacked(weights, ins) if nibbles and not unrolled else 0  # or LLVM does so before the tiles
    loaded = weights / 2 if nibbles else weights
    multiply = _multiply(products, ins, machine)
    if ins.int16_step:  # the figure is that of long chains; widening costs the same after a short one
        multiply *= 1 + WIDENING / ins.chain
    uses = 3 if ins.sums else 1 if ins.fused else 2 * ins.chain + ins.int16_step
    issued = products * uses + activations + 3 + beyond_l1 * loaded + unpack
    if nibbles or not unrolled:
        issued += loaded
    return max(multiply, (loaded + activations) / machine.loads, issued / machine.issue)


def throughput(ins: Instruction, machine: Machine) -> float:
    """Multiply-accumulates per cycle of an instruction, from the figure of its family."""
    figure = machine.instructions.get(ins.family)
    return (ins.lanes * ins.pairs * ins.chain if figure is None else figure) * ins.rate


def _crowded(plan: DirectPlan, ways: int) -> int:
    """How many of a tile's pixels are too many for their sets of the first cache, as their distances divide a way."""
    conv, size = plan.conv, np.dtype(plan.instruction.activation).itemsize
    pixel = conv.strides[1] * (plan.row if plan.tiling.im2col else conv.in_channels) * size
    row = conv.strides[0] * conv.width * conv.in_channels * size
    places = ((i * row + j * pixel) % WAY // LINE for i in range(plan.tiling.rows) for j in range(plan.tiling.tile))
    return sum(max(0, count - ways) for count in Counter(places).values())


def _unpacked(weights: int, ins: Instruction) -> float:
    """Instructions that make so many vectors of weights from half as many of bytes: see `nibbles`."""
    if ins.neon:
        return weights / 2 * (3 if ins.int16_step else 2)
    return weights / 2 * (5 if ins.int16_step else 3)


def _matrix_step(vectors: int, tile: int, ins: Instruction, machine: Machine, beyond_l1: bool) -> float:
    """For each pixel and vector of channels the multiplier takes a cycle, however many weights it multiplies.

    A line of a cache is a pixel's activations, or a vector of weights. Two vectors share the activations.
    """
    multiply = vectors * tile * ins.lanes * amx.DEPTH / throughput(ins, machine)
    activations, weights = -(-vectors // 2) * tile, vectors * ins.chain
    loaded = (activations + (0 if beyond_l1 else weights)) / machine.loads
    return max(multiply, loaded + (weights * amx.DEPTH / L2_BYTES if beyond_l1 else 0))


def _neon_step(vectors: int, tile: int, ins: Instruction, machine: Machine, nibbles: bool) -> float:
    if ins.pixels > 1:
        return _step_of_pixels(vectors, tile, ins, machine, nibbles)
    products, weights, activations = vectors * tile, vectors * ins.chain, tile * ins.chain
    multiply = _multiply(products, ins, machine)
    if ins.sums:
        multiply += tile  # to spread two activations: the units that add do this, too
    halves = 2 if ins.lanes_per_channel > 1 or ins.weight == "int16" else 1  # of a register, each multiplied by itself
    uses = ins.chain * halves + ins.int16_step
    if ins.chain > 1 and not ins.staged:
        activations = tile
    loaded = weights / 2 if nibbles else weights
    issued = products * uses + activations + loaded + 3 + (_unpacked(weights, ins) if nibbles else 0)
    if ins.chain > 1 and not ins.staged and ins.weight == "int8":
        issued += 2 * (activations + loaded)  # as long as three others (LLVM's model of the Neoverse N1)
    if ins.lanes_per_channel == 1 and (ins.staged or ins.chain == 1):
        issued += 2 * activations  # addresses are computed, and spreading over a vector is another operation
        multiply += SPREAD * activations if machine.issue > 3 else 0
    return max(multiply, (loaded + activations) / machine.loads, issued / machine.issue)


def _step_of_pixels(vectors: int, tile: int, ins: Instruction, machine: Machine, nibbles: bool) -> float:
    """Where activations of several pixels are put together in registers, by units that multiply as well."""
    pairs, weights = tile // ins.pixels, vectors * ins.chain
    loaded = tile + (weights / 2 if nibbles else weights)
    issued = (vectors + 1) * pairs * ins.chain + loaded + 3 + (_unpacked(weights, ins) if nibbles else 0)
    multiply = _multiply((vectors + 1) * pairs, ins, machine) + (HALVES if ins.chain == 1 else 0)
    return max(multiply, loaded / machine.loads, issued / machine.issue)


def _multiply(products: int, ins: Instruction, machine: Machine) -> float:
    """Cycles of the multipliers for so many vectors of accumulators."""
    return products * ins.lanes * ins.pairs * ins.chain / throughput(ins, machine)


def _stored(plan: DirectPlan, machine: Machine) -> float:
    """Cycles to store a tile's results."""
    ins, products = plan.instruction, plan.tiling.vectors * plan.tiling.tile * plan.tiling.rows
    if ins.neon:
        ordered = ins.lanes_per_channel - 1 + (ins.pixels > 1)
        return products * ins.channels / 4 * (NEON_STORE + ordered) / _arithmetic(machine)
    return products * (PACKED_STORE if plan.packs else STORE[ins.lanes])


def _arithmetic(machine: Machine) -> float:
    """Vector instructions of NEON that start per cycle, beside what goes with them."""
    return max(min(machine.issue, 2), machine.issue / 3)


def _overlapped(compute: float, weights: float) -> float:
    """Weights are fetched while others are multiplied, if each is used more than once: see `prefetch`."""
    return max(compute, weights) + EXPOSED * min(compute, weights)


def _rate(size: int, machine: Machine) -> float:
    """Bytes per cycle at which something of this size is read again and again."""
    if size <= machine.l1 // 2:
        return 1e9
    if size <= machine.l2 * 3 // 4:
        return L2_BYTES
    return L3_BYTES if size <= max(machine.l3, 2 * machine.l2) // 4 else FAR_BYTES
