"""Results of AVX2's kernels are packed four vectors at a time, also where a pixel has one; bits are tested with all."""

import re

import numpy as np
import pytest

from eq_tvm.schedules.choice.candidates import Stored, convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.targets import get_target

X86, BYTES = get_target("x86"), Output("uint8", bounded=True)


def script(conv, tiling, target=X86, output=BYTES):
    weight = np.ones((conv.out_channels, conv.in_channels, *conv.kernel), "int8")
    channels = np.ones(conv.out_channels, "int32"), np.ones(conv.out_channels, "float32")
    with target.tvm_target():
        found = convolution_candidates(conv, weight, *channels, Stored("uint8", 0, 127), output, target.machine)
        return next(each for each in found if tiling in each.name).make().script(show_meta=False)


@pytest.mark.parametrize(
    "tiling, packed, stored",
    [
        ("1x7x", 2, [8] * 7),  # seven pixels of one vector
        ("2x3x", 2, [16] * 3),
        ("3x2x", 1, [16, 8]),  # in a loop over both pixels
        ("4x1x", 1, [32]),
    ],
)
def test_four_vectors_at_a_time(tiling, packed, stored):
    text = script(Conv2D(1, 1, 42, 32, 96), f" {tiling}")
    assert text.count("packuswb") == packed
    widths = [len(order.split(",")) for order in re.findall(r"T\.Shuffle\(\[packed\w*\[.*?\]\], \[([^\]]*)\]", text)]
    assert widths == stored


def test_tiles_of_winograd():
    assert script(Conv2D(1, 16, 16, 64, 64, (3, 3), padding=(1, 1, 1, 1)), "F(4,3)").count("packuswb") == 1


def test_others_stay():
    conv = Conv2D(1, 1, 42, 32, 96)
    for target in ("x86-vnni", "rpi3"):
        assert "avx2.pack" not in script(conv, "", get_target(target))
    assert "avx2.pack" not in script(conv, " 1x7x", output=Output("float32"))
    assert "avx2.pack" not in script(Conv2D(1, 1, 40, 32, 90), " 1x7x")  # the last vector of a pixel is not whole


def test_lanes_that_llvm_leaves_in_halves():
    """Packing works within halves of a register: vector j is in bytes 4 j to 4 j + 3 of both."""
    text = script(Conv2D(1, 1, 42, 32, 96), " 1x7x")
    first = re.search(r"T\.Shuffle\(\[packed.*?\]\], \[([^\]]*)\]", text).group(1)
    assert [int(at) for at in first.split(",")] == [0, 1, 2, 3, 16, 17, 18, 19]
