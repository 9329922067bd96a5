"""The rate that an instruction reaches in a direct kernel whose data stays in the near caches."""

from dataclasses import replace

from tvm import tirx

from ..common.epilogue import Output
from ..convolution.conv2d import Conv2D
from ..convolution.direct_conv import direct_conv
from ..convolution.direct_plan import DirectPlan, DirectTiling
from ..processor.instruction import Instruction
from ..processor.machine import Machine
from . import cost, tilings

STEPS, TILES = 512, 8
BLOCKS = 8  # where sums are multiplied: what pixels have by themselves hides behind many channels


def peak_kernel(instruction: Instruction, machine: Machine) -> tuple[tirx.PrimFunc, int]:
    """A scheduled PrimFunc that does little but multiply, and its multiply-accumulates.

    Parameters
    ----------
    instruction : Instruction
    machine : Machine
    """
    steps = STEPS // (instruction.chain if instruction.matrix or instruction.sums else max(1, len(instruction.chains)))
    widest = Conv2D(1, 1, 28, steps * instruction.depth, 4 * instruction.lanes)

    def per_product(tiling: DirectTiling) -> tuple[float, int]:
        products = tiling.vectors * tiling.tile
        step = cost.step_cycles(tiling.vectors, tiling.tile, instruction, machine, beyond_l1=False)
        return step / products, -products

    tiling = min(tilings.direct_tilings(widest, instruction), key=per_product)
    blocks = BLOCKS if instruction.sums else 1
    tiling = replace(tiling, chunk=TILES if instruction.sums else tiling.chunk)
    conv = Conv2D(1, 1, TILES * tiling.tile, widest.in_channels, blocks * tiling.vectors * instruction.channels)
    plan = DirectPlan(conv, instruction, Output("float32"), tiling)
    return direct_conv(plan, 0, instruction.activation), conv.macs
