"""One kernel without quantizer and graph: all ways to compute a quantized 3x3 convolution here, each bit for bit right.

    python only_the_schedules.py
    python only_the_schedules.py --size 56 --channels 64 --target rpi4

On another target than this machine the kernels are listed, and not run.
"""

import argparse
import sys

import numpy as np
import tvm

from eq_tvm.errors import UserError
from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.targets import get_target


def main() -> None:
    """Make a layer, list its kernels, run the cheapest of each algorithm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=14, help="height and width (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=32, help="of the input and the result (default: %(default)s)")
    parser.add_argument("--target", default="native", help="(default: %(default)s)")
    given = parser.parse_args()

    conv = Conv2D(1, given.size, given.size, given.channels, given.channels, kernel=(3, 3), padding=(1, 1, 1, 1))
    random = np.random.default_rng(0)
    x = random.integers(0, 128, (1, given.size, given.size, given.channels)).astype("uint8")  # NHWC
    weight = random.integers(-63, 64, (given.channels, given.channels, 3, 3)).astype("int8")  # OIHW
    bias = random.integers(-1000, 1000, given.channels).astype("int32")
    multiplier = np.full(given.channels, 1e-3, "float32")  # from accumulators to the result's integers
    limits = np.array([0, 127, 0], "int32")  # of the result: ReLU at INT7

    target = get_target(given.target)
    stored = Stored("uint8", 0, 127)
    found = convolution_candidates(conv, weight, bias, multiplier, stored, Output("uint8"), target.machine)
    best = {candidate.algorithm: candidate for candidate in reversed(found)}
    for algorithm, candidate in sorted(best.items(), key=lambda item: item[1].cycles):
        line = f"{algorithm:8} {candidate.name:36} {candidate.cycles:>12,.0f} cycles by the model"
        if target.name == "native":
            with target.tvm_target():
                kernel = tvm.compile(candidate.make(), target=target.tvm_target())
            y = np.empty(conv.nhwc_shape, "uint8")
            arguments = [x, *candidate.constants(), limits, y]
            tensors = [tvm.runtime.tensor(np.ascontiguousarray(each)) for each in arguments]
            kernel(*tensors)
            equal = np.array_equal(tensors[-1].numpy(), _expected(x, weight, bias, multiplier))
            line += ", equal to numpy" if equal else ", DIFFERENT FROM NUMPY"
        print(line)


def _expected(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """The integer program of such a layer: docs/integer-program.md."""
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # N, H, W, I, 3, 3
    acc = np.einsum("nhwiyx,oiyx->nhwo", windows, weight.astype(np.int64)) + bias
    return np.clip(np.rint(acc.astype(np.float32) * multiplier), 0, 127).astype("uint8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
