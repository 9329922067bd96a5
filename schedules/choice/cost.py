"""A model of what kernels cost, in cycles of one core: good enough to choose between kernels and tilings.

It counts, for the innermost loop, what the slowest of multipliers, loads and instruction issue needs; adds what each
tile, each stored vector and each transformed tile costs; and adds the traffic of weights that do not stay in a cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..common.sizes import largest_divisor
from ..convolution.direct_plan import TILES, DirectTiling
from ..convolution.winograd_plan import WinogradTiling
from ..processor import neon, ordered_int16
from ..processor.ordered import TILE, VECTORS

# Bytes per cycle, on top of what is hidden behind the multiplications. Cold: weights that the network's other layers
# have driven out since the last run. Spilled: what a kernel writes and reads again, beyond the second cache.
L2_BYTES, L3_BYTES, FAR_BYTES, SPILLED_BYTES, COLD_BYTES = 64.0, 24.0, 12.0, 12.0, 5.0
COPIED_BYTES = 4.0  # per cycle, of activations that are copied to be padded
ROW_COPIED, MANY = 5.0, 16  # instructions to copy a kernel row of a patch, and channels that need none
PER_TILE, LOOP = 8.0, 4.0  # cycles for a tile, a loop over steps
STORE, PACKED_STORE = {16: 6.0, 8: 2.5}, 3.0  # cycles for a vector of results, by its lanes
NEON_STORE = 7.0  # instructions for a vector of results
SPREAD = 0.5  # cycles of the multipliers to spread a value over a vector, on a processor that issues faster than loads
PRODUCT = 40.0  # cycles for a tile of one of Winograd's products: zeros, stores, and a loop's end
# Cycles to transform a tile: for a vector of input channels (16 bits), for a vector of accumulators with its stores.
TRANSFORMS = {2: (60.0, 80.0), 4: (200.0, 240.0)}
NEON_TRANSFORMS = {2: (180.0, 220.0), 4: (600.0, 700.0)}  # instructions, for two registers
# Cycles until the first activations and weights are there, to go on with others, to add up what a tile's lanes hold.
ORDERED_START, ORDERED_LINK, ORDERED_TILE = 15.0, 0.9, 14.0
WIDENING = 0.8  # of a link of an int16 chain
EXPOSED = 0.4  # of the time that cold weights take, or the multiplications, the part that does not overlap
EFFICIENCY = 0.87  # of the matrix products of Winograd, which are short


@dataclass(frozen=True)
class Machine:
    """What the choice of kernels knows of a processor: see ``targets.yaml``.

    Parameters
    ----------
    instructions : mapping
        Name of a multiply instruction -> multiply-accumulates per cycle.
    issue, loads : float
        Instructions in all and loads that it starts per cycle, as found in practice.
    l1, l2, l3 : int
        Data caches in bytes; `l3` may be 0.
    """

    instructions: Mapping[str, float]
    issue: float = 3.75
    loads: float = 1.75
    l1: int = 32768
    l2: int = 1 << 20
    l3: int = 1 << 24


def in_order(machine):
    """Whether instructions start in the order of the program, so that one that waits holds up all others."""
    return machine.issue <= 1


def direct_tilings(conv, instruction):
    """Tilings of a direct convolution that keep the accumulators in registers."""
    ins = instruction
    vectors = -(-(conv.out_channels // conv.groups) // ins.channels)
    # Four channels' parts are added together; LLVM keeps three vectors of NEON in memory.
    if ins.chains:
        yield from (DirectTiling(VECTORS, TILE, patches=patches) for patches in layouts(conv, ins))
        return
    for v in (4, 8) if ins.parts > 1 else (1, 2, 4) if ins.neon else (1, 2, 3, 4):
        for tile in range(1, min(conv.out_width, 28) + 1):
            if v <= max(vectors, 1 if ins.parts == 1 else 4) and _registers(v, tile, ins) <= ins.registers:
                yield from (DirectTiling(v, tile, patches=patches) for patches in layouts(conv, ins))


def layouts(conv, instruction):
    """Whether to copy patches (see `DirectTiling`): the ways to order activations and weights."""
    few = conv.groups == 1 and conv.dilation == (1, 1) and conv.kernel[0] > 1 and conv.in_channels < MANY
    return (False, True) if few and instruction.activation != "float32" else (False,)


def _registers(v, tile, ins):
    """Vector registers that a tile takes, with what LLVM takes besides (by the assembly)."""
    if ins.parts > 1:
        return 2 * v * tile + v + tile + 2
    if ins.neon and (ins.lanes, ins.registers) == (4, neon.REGISTERS_32):
        return 2 * v * tile + 8 if ins.staged else v * tile + v + 7
    if ins.neon:
        return 2 * v * tile + 9 if ins.staged else v * tile + v + 4 if ins.chain == 1 else v * tile + tile + 4 * v
    # A weight that several pixels use is kept in a register; one alone is read by the instruction itself.
    needed = v * tile + v + 1 if ins.chain == 1 else 2 * v * tile + 2  # with a chain's int16 sums
    return needed + (2 if ins.lanes == 16 and ins.chain > 1 else 0)


def direct_cycles(plan, machine):
    """Estimated cycles of a direct convolution.

    Parameters
    ----------
    plan : DirectPlan
    machine : Machine
    """
    conv, ins, tiling = plan.conv, plan.instruction, plan.tiling
    v, tile = tiling.vectors, tiling.tile
    steps = plan.kernel_rows * plan.taps * plan.steps
    tiles = conv.batch * conv.groups * conv.out_height * (plan.padded_columns // tile)
    inner = steps * step_cycles(v, tile, ins, machine, plan.far, plan.unrolled)
    if plan.far:
        inner += plan.block_bytes / L2_BYTES
    loops = 0 if plan.unrolled else plan.kernel_rows * plan.taps
    inner += PER_TILE + loops * LOOP + _stored(plan, machine) + (ORDERED_TILE if ins.chains else 0)
    copied = conv.height * conv.width * conv.in_channels if plan.padded_columns != conv.out_width else 0
    if tiling.patches:
        tiles_copied = conv.batch * conv.out_height * plan.padded_columns * conv.kernel[0]
        copied += tiles_copied * (ROW_COPIED + plan.row / 16) * COPIED_BYTES / min(machine.issue, 2)
    whole = plan.block_bytes * plan.blocks * conv.groups
    return _overlapped(tiles * plan.blocks * inner, whole / COLD_BYTES) + copied / COPIED_BYTES


def _stored(plan, machine):
    """Cycles to store a tile's results."""
    ins, products = plan.instruction, plan.tiling.vectors * plan.tiling.tile
    if ins.neon:
        return products * ins.channels / 4 * (NEON_STORE + (ins.parts - 1)) / min(machine.issue, 2)
    return products * (PACKED_STORE if plan.packs else STORE[ins.lanes])


def chunk_of(plan, machine):
    """How many rows (tiles of a single row) of pixels to compute with one block's weights.

    One, if all weights fit a cache: each activation is then read once. Else as many as fit the second cache.
    """
    conv = plan.conv
    places = conv.out_height if conv.out_height > 1 else plan.padded_columns // plan.tiling.tile
    if plan.blocks == 1 or plan.blocks * plan.block_bytes <= machine.l1 // 2:
        few = plan.instruction.parts > 1 and conv.out_height == 1  # tiles whose results are stored together
        return largest_divisor(places, TILES) if few else 1
    activations = conv.height * conv.width * conv.in_channels
    fitting = max(1, places * (machine.l2 // 2) // max(activations, 1))
    return largest_divisor(places, fitting)


def winograd_tilings(conv, winograd, instruction):
    """Tilings of a Winograd convolution that keep the accumulators in registers."""
    rows, cols = -(-conv.out_height // winograd.m), -(-conv.out_width // winograd.m)
    temporaries = 1 if instruction.lanes == 16 else 2
    vectors = -(-conv.out_channels // instruction.lanes)
    for chunk in range(1, rows + 1):
        if rows % chunk:
            continue
        for v in range(1, min(vectors, 4) + 1):
            room = (instruction.registers - v - temporaries) // v
            if instruction.neon:  # with more vectors, LLVM loads weights so early that accumulators are spilled
                room = {1: 10, 2: 3}.get(v, 0)
            most = min(room, chunk * cols)
            for tile in range(max(1, -(-most // 2)), most + 1):
                for ahead in (False, True) if chunk < rows else (True,):  # else threads would have nothing to share
                    yield WinogradTiling(chunk, tile, v, ahead)
        if not instruction.neon:
            continue
        pieces = largest_divisor(-(-conv.in_channels // instruction.depth), ordered_int16.STEPS)
        for tile, v in ordered_int16.TILINGS:  # for processors that keep the order of instructions
            if pieces > 1 and tile <= chunk * cols and v <= vectors:
                for ahead in (False, True) if chunk < rows else (True,):
                    yield WinogradTiling(chunk, tile, v, ahead, pieces)


def winograd_cycles(plan, machine):
    """Estimated cycles of a Winograd convolution.

    Parameters
    ----------
    plan : WinogradPlan
    machine : Machine
    """
    conv, winograd, instruction, tiling = plan.conv, plan.winograd, plan.instruction, plan.tiling
    places, tiles = winograd.alpha**2, conv.batch * plan.rows * plan.cols
    block, blocks, chunks = plan.block, plan.blocks, conv.batch * plan.chunks
    if tiling.pieces:
        step = 16 * tiling.vectors * tiling.tile + ORDERED_START / tiling.pieces + 2
    else:
        step = step_cycles(tiling.vectors, tiling.tile, instruction, machine, plan.far) / EFFICIENCY
    product = places * chunks * (plan.padded_tiles // tiling.tile) * blocks * (plan.steps * step + PRODUCT)
    into, out = TRANSFORMS[winograd.m]
    if instruction.neon:
        into, out = (count / min(machine.issue, 2) for count in NEON_TRANSFORMS[winograd.m])
    transforms = chunks * plan.padded_tiles * -(-conv.in_channels // (2 * instruction.lanes)) * into
    transforms += tiles * blocks * tiling.vectors * out
    v_bytes = plan.v_bytes * (plan.chunks if tiling.ahead else 1)
    m_bytes = 4 * places * plan.padded_tiles * block
    weight_bytes = places * blocks * plan.block_bytes
    local = m_bytes + v_bytes
    weights = weight_bytes / COLD_BYTES + (chunks - 1) * weight_bytes / _rate(weight_bytes + local, machine)
    product = _overlapped(product, weights) if plan.tiles > tiling.tile else product + weights
    # V is fetched ahead, too; M is not.
    near = L2_BYTES if local <= 0.7 * machine.l2 else SPILLED_BYTES if local <= machine.l3 // 4 else COLD_BYTES
    fetched = L2_BYTES if v_bytes <= machine.l3 // 4 else near
    spilled = chunks * blocks * (plan.v_bytes / fetched + 2 * m_bytes / near)
    return product + transforms + spilled


def _overlapped(compute, weights):
    """Weights are fetched while others are multiplied, if each is used more than once: see `prefetch`."""
    return max(compute, weights) + EXPOSED * min(compute, weights)


def step_cycles(vectors, tile, ins, machine, far, unrolled=False):
    """Cycles of one step of the innermost loop.

    Parameters
    ----------
    vectors, tile : int
        See `DirectTiling`.
    ins : Instruction
    machine : Machine
    far : bool
        Whether the step fetches its weights: see `prefetch`.
    unrolled : bool
        Whether the instruction that multiplies reads the weights, too: see `DirectPlan`.
    """
    if ins.chains:
        return ORDERED_START + ORDERED_LINK * ins.links + vectors * tile * (2 * ins.links + len(ins.chains))
    multiply = vectors * tile * ins.lanes * ins.pairs * ins.chain / throughput(ins, machine)
    products, weights, activations = vectors * tile, vectors * ins.chain, tile * ins.chain
    if ins.neon:
        halves = 2 if ins.parts > 1 or ins.weight == "int16" else 1  # of a register, each multiplied by itself
        uses = ins.chain * halves + bool(ins.chained)
        if ins.chain > 1 and not ins.staged:
            activations = tile
        issued = products * uses + activations + weights + 3
        if ins.parts == 1 and (ins.staged or ins.chain == 1):
            issued += 2 * activations  # addresses are computed, and spreading over a vector is another operation
            multiply += SPREAD * activations if machine.issue > 3 else 0
        return max(multiply, (weights + activations) / machine.loads, issued / machine.issue)
    if ins.chained:  # the figure is that of long chains; widening costs the same after a short one
        multiply *= 1 + WIDENING / ins.chain
    fused = ins.name.removeprefix("eq_tvm.").startswith(("vpdp", "fma"))  # with the addition
    uses = 1 if fused else 2 * ins.chain + bool(ins.chained)
    issued = products * uses + activations + 3 + far * weights
    if not unrolled:
        issued += weights
    return max(multiply, (weights + activations) / machine.loads, issued / machine.issue)


def throughput(ins, machine):
    """Multiply-accumulates per cycle of an instruction, from the figure of its family."""
    name = ins.name.removeprefix("eq_tvm.")
    family = name.split("_")[0]
    rates = [rate for key, rate in machine.instructions.items() if key.split("-")[0] == family]
    if ins.neon and ins.weight == "int16":
        rates = [rate / 2 for rate in rates]
    if family == "vpdpwssd":  # half of vpdpbusd's: 16 bits for 8
        rates = [rate / 2 for key, rate in machine.instructions.items() if key.startswith("vpdpbusd")]
    return rates[0] if rates else ins.lanes * ins.pairs * ins.chain


def _rate(size, machine):
    """Bytes per cycle at which something of this size is read again and again."""
    if size <= machine.l1 // 2:
        return 1e9
    if size <= machine.l2 * 3 // 4:
        return L2_BYTES
    return L3_BYTES if size <= max(machine.l3, 2 * machine.l2) // 4 else FAR_BYTES
