"""How near the innermost loops of kernels come to what the processor can multiply at most, by llvm-mca.

Layers by themselves: the direct kernel and the Winograd kernel that the cost model takes, for each processor. As
everything that llvm-mca says, an estimate without caches.
"""

from __future__ import annotations

import argparse

import numpy as np
import tvm

from emulated.arm_cpus import CPUS, Cpu
from emulated.arm_report import markdown
from emulated.cycles import cycles_per_run
from emulated.loops import busiest_loop, macs, multiply_cycles
from eq_tvm.passes import COMPILE_CONFIG
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.targets import get_target

# Height and width, input channels, output channels, kernel.
LAYERS = ((56, 64, 64, 3), (28, 128, 128, 3), (14, 256, 256, 3), (7, 512, 512, 3), (28, 128, 128, 1), (14, 256, 256, 1))
# The greatest weight and activation.
SCHEMES = {"w4a8": (7, 255), "int6": (31, 63), "int7": (63, 127), "int8": (127, 255)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=list(CPUS), help="processors, by LLVM's names")
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=["int7"])
    options = parser.parse_args()
    rows = [["processor", "layer", "scheme", "kernel", "MAC", "cycles", "MAC/cycle", "bound", "of it"]]
    for cpu in (CPUS[name] for name in options.cpus):
        for size, inputs, outputs, kernel in LAYERS:
            pad = kernel // 2
            conv = Conv2D(1, size, size, inputs, outputs, (kernel, kernel), (1, 1), (pad,) * 4)
            for scheme in options.schemes:
                for name, loop in _loops(conv, scheme, cpu):
                    layer = f"{size}x{size}x{inputs} {kernel}x{kernel}"
                    rows.append([cpu.title, layer, scheme, name, *_figures(loop, cpu)])
    print(markdown(rows))


def _loops(conv: Conv2D, scheme: str, cpu: Cpu):
    """Name and innermost loop of the cheapest kernel of each algorithm."""
    target = get_target(cpu.target)
    weight_max, high = SCHEMES[scheme]
    rng = np.random.default_rng(0)
    shape = conv.out_channels, conv.in_channels, *conv.kernel
    weight = rng.standard_normal(shape)  # as of a trained network: few are large, so that chains may be long
    weight = np.rint(weight * weight_max / abs(weight).max(axis=(1, 2, 3), keepdims=True)).astype("int8")
    bias, multiplier = np.zeros(conv.out_channels, "int32"), np.full(conv.out_channels, 1e-4, "float32")
    source, output = Stored("uint8", 0, high), Output("uint8", bounded=True)
    seen = set()
    for candidate in convolution_candidates(conv, weight, bias, multiplier, source, output, target.machine):
        algorithm = candidate.algorithm
        if algorithm not in seen:
            seen.add(algorithm)
            with tvm.transform.PassContext(opt_level=3, config=COMPILE_CONFIG):
                built = tvm.compile(candidate.make(), target=target.tvm_target())
            yield candidate.name, busiest_loop(built.mod.inspect_source("asm"))


def _figures(loop: list[str], cpu: Cpu) -> list[str]:
    ((cycles, _),) = cycles_per_run([[line for line in loop if not line.startswith("b")]], cpu.name)
    count, bound = macs(loop), multiply_cycles(loop, cpu.name)
    rate, best = count / cycles, count / bound
    return [str(count), f"{cycles:.1f}", f"{rate:.2f}", f"{best:.2f}", f"{rate / best:.0%}"]


if __name__ == "__main__":
    main()
