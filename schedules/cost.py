"""A model of what kernels cost, in cycles of one core: good enough to choose between kernels and tilings.

It counts, for the innermost loop, what the slowest of multipliers, loads and instruction issue needs; adds what each
tile, each stored vector and each transformed tile costs; and adds the traffic of weights that do not stay in a cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .direct_plan import DirectTiling
from .winograd_plan import WinogradTiling

LOADS, ISSUE = 2.0, 4.0  # per cycle
# Bytes per cycle, on top of what is hidden behind the multiplications. Cold: weights that the network's other layers
# have driven out since the last run. Spilled: what a kernel writes and reads again, beyond the second cache.
L2_BYTES, L3_BYTES, FAR_BYTES, SPILLED_BYTES, COLD_BYTES = 64.0, 60.0, 12.0, 20.0, 7.0
TILE, LOOP = 8.0, 4.0  # cycles for a tile, a loop over steps
STORE, PACKED_STORE = {16: 6.0, 8: 2.5, 4: 2.5}, 3.0  # cycles for a vector of results, by its lanes
PRODUCT = 40.0  # cycles for a tile of one of Winograd's products: zeros, stores, and a loop's end
# Cycles to transform a tile: for a vector of input channels (16 bits), for a vector of accumulators with its stores.
TRANSFORMS = {2: (60.0, 80.0), 4: (200.0, 240.0)}
WIDENING = 0.8  # of a link of an int16 chain
SHARED = 1.2  # where chained weights are shared by pixels, they crowd the registers
EFFICIENCY = 0.87  # of the matrix products of Winograd, which are short


@dataclass(frozen=True)
class Machine:
    """What the choice of kernels knows of a processor: see ``targets.yaml``.

    Parameters
    ----------
    instructions : mapping
        Name of a multiply instruction -> multiply-accumulates per cycle.
    l1, l2, l3 : int
        Data caches in bytes; `l3` may be 0.
    """

    instructions: Mapping[str, float]
    l1: int = 32768
    l2: int = 1 << 20
    l3: int = 1 << 24


def direct_tilings(conv, instruction):
    """Tilings of a direct convolution that keep the accumulators in registers."""
    chain, room = instruction.chain, instruction.registers
    vectors = -(-(conv.out_channels // conv.groups) // instruction.lanes)
    for v in (1, 2, 3, 4):
        for tile in range(1, min(conv.out_width, 28) + 1):
            # A weight that several pixels use is kept in a register; one alone is read by the instruction itself.
            needed = v * tile + (v + 1 if chain == 1 else 4 + (v * chain if tile > 1 else 0))
            needed += _SPARE.get((instruction.lanes, chain > 1), 0)
            if v <= max(vectors, 1) and needed <= room:
                yield DirectTiling(v, tile)


# More registers that LLVM takes, by lanes and whether there is a chain: found by looking at the assembly.
_SPARE = {(4, False): 3, (4, True): 1, (16, True): 1}


def direct_cycles(plan, machine):
    """Estimated cycles of a direct convolution.

    Parameters
    ----------
    plan : DirectPlan
    machine : Machine
    """
    conv, ins, tiling = plan.conv, plan.instruction, plan.tiling
    v, tile = tiling.vectors, tiling.tile
    steps = conv.kernel[0] * plan.taps * plan.steps
    tiles = conv.batch * conv.groups * conv.out_height * (plan.padded_columns // tile)
    inner = steps * step_cycles(v, tile, ins, throughput(ins, machine))
    block_bytes = steps * v * ins.lanes * ins.depth * (2 if ins.weight == "int16" else 1)
    if block_bytes > machine.l1 // 2:
        inner += block_bytes / L2_BYTES
    inner += TILE + conv.kernel[0] * plan.taps * LOOP + v * tile * (PACKED_STORE if plan.packs else STORE[ins.lanes])
    whole = block_bytes * plan.blocks * conv.groups
    copied = conv.height * conv.width * conv.in_channels if plan.padded_columns != conv.out_width else 0
    return tiles * plan.blocks * inner + whole / COLD_BYTES / 2 + copied / L3_BYTES


def chunk_of(plan, machine):
    """How many rows (tiles of a single row) of pixels to compute with one block's weights.

    One, if all weights fit a cache: each activation is then read once. Else as many as fit the second cache.
    """
    conv, ins = plan.conv, plan.instruction
    places = conv.out_height if conv.out_height > 1 else plan.padded_columns // plan.tiling.tile
    whole = plan.blocks * plan.block * conv.kernel[0] * plan.taps * plan.steps * ins.depth
    if plan.blocks == 1 or whole <= machine.l1 // 2:
        return 1
    activations = conv.height * conv.width * conv.in_channels
    fitting = max(1, places * (machine.l2 // 2) // max(activations, 1))
    return max(chunk for chunk in range(1, places + 1) if places % chunk == 0 and chunk <= fitting)


def winograd_tilings(conv, winograd, instruction):
    """Tilings of a Winograd convolution that keep the accumulators in registers."""
    rows, cols = -(-conv.out_height // winograd.m), -(-conv.out_width // winograd.m)
    temporaries = 1 if instruction.lanes == 16 else 2
    vectors = -(-conv.out_channels // instruction.lanes)
    for chunk in range(1, rows + 1):
        if rows % chunk:
            continue
        for v in (1, 2, 3, 4):
            tiles = [t for t in range(1, 29) if chunk * cols % t == 0
                     and v * t + v + temporaries <= instruction.registers]
            if v <= max(vectors, 1):
                for ahead in (False, True):
                    yield WinogradTiling(chunk, max(tiles), v, ahead)


def winograd_cycles(plan, machine):
    """Estimated cycles of a Winograd convolution.

    Parameters
    ----------
    plan : WinogradPlan
    machine : Machine
    """
    conv, winograd, instruction, tiling = plan.conv, plan.winograd, plan.instruction, plan.tiling
    places, tiles = winograd.alpha**2, conv.batch * plan.rows * plan.cols
    block, blocks, steps = plan.block, plan.blocks, plan.steps
    chunks, groups = conv.batch * plan.chunks, tiles // tiling.tile
    rate = throughput(instruction, machine)
    product = places * groups * blocks * (
        steps * step_cycles(tiling.vectors, tiling.tile, instruction, rate) / EFFICIENCY + PRODUCT)
    into, out = TRANSFORMS[winograd.m]
    transforms = tiles * (-(-conv.in_channels // (2 * instruction.lanes)) * into + blocks * tiling.vectors * out)
    weight_bytes = places * steps * blocks * block * instruction.pairs * 2
    v_bytes = 2 * places * conv.in_channels * (tiles if tiling.ahead else plan.tiles)
    m_bytes = 4 * places * plan.tiles * block
    local = m_bytes + v_bytes
    traffic = weight_bytes / COLD_BYTES + (chunks - 1) * weight_bytes / _rate(weight_bytes + local, machine)
    near = L2_BYTES if local <= 0.7 * machine.l2 else SPILLED_BYTES
    traffic += (2 * chunks * blocks * m_bytes + chunks * blocks * v_bytes / (chunks if tiling.ahead else 1)) / near
    return product + transforms + traffic


def step_cycles(vectors, tile, ins, rate):
    """Cycles of one step of the innermost loop, where the instruction has `rate` multiply-accumulates per cycle."""
    multiply = vectors * tile * ins.lanes * ins.depth / rate
    if ins.chained:  # the figure is that of long chains; widening costs the same after a short one
        multiply *= (1 + WIDENING / ins.chain) * (SHARED if tile > 1 and ins.chain > 2 else 1)
    weights, activations = vectors * ins.chain, tile * ins.chain
    fused = ins.name.removeprefix("eq_tvm.").startswith(("vpdp", "sdot", "fma"))  # with the addition
    uses = 1 if fused else 2 * ins.chain + (ins.chain > 1)
    issued = vectors * tile * uses + activations + vectors + 2
    if tile > 1 or not ins.chained:  # else the instruction reads the weights itself
        issued += weights
    return max(multiply, 1.15 * (weights + activations) / LOADS, 1.15 * issued / ISSUE)


def throughput(ins, machine):
    """Multiply-accumulates per cycle of an instruction, from the figure of its family."""
    name = ins.name.removeprefix("eq_tvm.").replace("_x", "-").replace("_", "-")
    family = name.split("-")[0]
    rates = [rate for key, rate in machine.instructions.items() if key.split("-")[0] == family]
    if family == "vpdpwssd":  # half of vpdpbusd's: 16 bits for 8
        rates = [rate / 2 for key, rate in machine.instructions.items() if key.startswith("vpdpbusd")]
    return rates[0] if rates else ins.lanes * ins.depth


def _rate(size, machine):
    """Bytes per cycle at which something of this size is read again and again."""
    if size <= machine.l1 // 2:
        return 1e9
    if size <= machine.l2 * 3 // 4:
        return L2_BYTES
    return L3_BYTES if size <= max(machine.l3, 2 * machine.l2) // 4 else FAR_BYTES
