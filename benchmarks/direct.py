"""How near the direct kernels of 3x3 layers come to what one core can do at most.

Layers by themselves, with the weights still in a cache from the last run, on one thread; `x86.py` and
`python -m eq_tvm bench --layers` show them in networks. The peak is measured before each layer, as machines that do
other work change their speed; the fastest run of each counts.
"""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("TVM_NUM_THREADS", "1")

import tvm

import peak
from eq_tvm.passes import COMPILE_CONFIG
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.targets import get_target

ROUNDS = 5
LAYERS = {"56x56x64": (56, 64), "28x28x128": (28, 128), "14x14x256": (14, 256), "7x7x512": (7, 512)}
PEAK = "vpdpbusd-512"


def main():
    target = get_target("native")
    if PEAK not in target.instructions:
        raise SystemExit(f"this processor has no {PEAK}")
    print(f"{'layer':<12} {'kernel':<36} {'us':>7} {'GMAC/s':>7} {'peak':>7}")
    for name, (size, channels) in LAYERS.items():
        conv = Conv2D(1, size, size, channels, channels, (3, 3), (1, 1), (1, 1, 1, 1))
        kernel, run = _kernel(conv, target)
        best, rates = float("inf"), []
        for _ in range(ROUNDS):
            rates.append(_peak())
            best = min(best, *run())
        rate = conv.macs / best / 1e9
        print(f"{name:<12} {kernel:<36} {1e6 * best:>7.0f} {rate:>7.0f} {max(rates):>7.0f} {rate / max(rates):>6.0%}")


def _peak():
    return peak.measure(peak.LOOPS[PEAK], peak.SECONDS)


def _kernel(conv, target):
    """Name of the direct kernel that the cost model takes, and what times it some hundred times."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-63, 64, (conv.out_channels, conv.in_channels, 3, 3), "int8")
    bias, multiplier = np.zeros(conv.out_channels, "int32"), np.full(conv.out_channels, 1e-4, "float32")
    candidates = convolution_candidates(
        conv, weight, bias, multiplier, Stored("uint8", 0, 127), Output("uint8", bounded=True), target.machine
    )
    chosen = next(candidate for candidate in candidates if candidate.algorithm == "direct")
    with tvm.transform.PassContext(opt_level=3, config=COMPILE_CONFIG):
        module = tvm.compile(chosen.make(), target=target.tvm_target())
    x = rng.integers(0, 128, (1, conv.height, conv.width, conv.in_channels)).astype("uint8")
    limits, out = np.array([0, 127, 0], "int32"), np.empty(conv.nhwc_shape, "uint8")
    arguments = [tvm.runtime.tensor(array) for array in (x, *chosen.constants(), limits, out)]
    timer = module.mod.time_evaluator("main", tvm.cpu(), number=5, repeat=100)
    return chosen.name, lambda: timer(*arguments).results


if __name__ == "__main__":
    main()
