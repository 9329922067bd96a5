"""What weights of 4 bits, two to a byte, gain where weights come from the memory: VGG-16's dense layers, one thread.

With weights of 8 bits and of 4, the kernels that the cost model takes, in turn: A B A B. The three layers run one after
the other, as in the network, so that each has driven the others' weights out of the caches. What kernels compute is
compared with numpy.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

os.environ.setdefault("TVM_NUM_THREADS", "1")

import tvm

from eq_tvm.building.kernel_timing import arguments_of
from eq_tvm.passes import COMPILE_CONFIG
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.targets import TargetSpec, get_target

LAYERS = [(25088, 4096), (4096, 4096), (4096, 1000)]
LIMITS = {"8 bits": 127, "4 bits": 7}  # of the weights
PASSES = 10  # of a round, through all layers
MULTIPLIER = np.float32(2.0**-12)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="native", help="x86 for AVX2 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    target, kernels = get_target(options.target), {}
    for bits, limit in LIMITS.items():
        kernels[bits] = [_kernel(*layer, limit, target) for layer in LAYERS]
        for layer, (name, _) in zip(LAYERS, kernels[bits], strict=True):
            print(f"{layer[0]:>5} to {layer[1]}, {bits}: {name}")
    shown = "".join(f"{f'{inputs} to {outputs}':>15}" for inputs, outputs in LAYERS)
    print(f"\n{'us':<8}{shown}{'all':>15}")
    for _ in range(options.rounds):
        eight, four = (_round([run for _, run in kernels[bits]]) for bits in LIMITS)
        for bits, times in zip(LIMITS, (eight, four), strict=True):
            print(f"{bits:<8}" + "".join(f"{1e6 * seconds:>15.0f}" for seconds in times))
        print(f"{'ratio':<8}" + "".join(f"{ratio:>15.2f}" for ratio in eight / four))


def _round(runs: list[Callable[[], object]]) -> np.ndarray:
    """Median seconds of each layer, and of all."""
    times = np.zeros((PASSES, len(runs)))
    for each in times:
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            each[i] = time.perf_counter() - start
    return np.median(np.column_stack([times, times.sum(1)]), 0)


def _kernel(inputs: int, outputs: int, limit: int, target: TargetSpec) -> tuple[str, Callable[[], object]]:
    """The cheapest kernel of a dense layer on random weights up to a limit: its name, and what runs it."""
    conv, rng = Conv2D(1, 1, 1, inputs, outputs), np.random.default_rng(0)
    weight = rng.integers(-limit, limit + 1, (outputs, inputs, 1, 1), "int8")
    bias, multiplier = rng.integers(-9999, 9999, outputs, "int32"), np.full(outputs, MULTIPLIER)
    source, output = Stored("uint8", 0, 255), Output("float32")
    candidate = convolution_candidates(conv, weight, bias, multiplier, source, output, target.machine)[0]
    function = candidate.make()
    with tvm.transform.PassContext(opt_level=3, config=COMPILE_CONFIG):
        kernel = tvm.compile(function, target=target.tvm_target()).jit()["main"]
    arguments, _ = arguments_of(candidate, function.params)
    tensors = [tvm.runtime.tensor(array) for array in arguments]
    kernel(*tensors)
    expected = (_sums(weight, arguments[0].ravel()) + bias).astype("float32") * MULTIPLIER
    if not np.array_equal(tensors[-1].numpy().ravel(), expected):
        raise SystemExit(f"{candidate.name} computes something else")
    return candidate.name, lambda: kernel(*tensors)


def _sums(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Exact products, some inputs at a time: as integers of 32 bits, all weights would take much memory."""
    places = range(0, len(x), 1024)
    parts = (weight[:, at : at + 1024, 0, 0].astype("int32") @ x[at : at + 1024].astype("int32") for at in places)
    return sum(parts, np.zeros(len(weight), "int32"))


if __name__ == "__main__":
    main()
