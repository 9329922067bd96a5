"""What LLVM makes of AMX's micro-kernels, and what emulates their instructions."""

import re

import pytest
from families import FAMILIES

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_conv import direct_conv
from eq_tvm.schedules.convolution.direct_plan import DirectPlan, DirectTiling
from eq_tvm.schedules.processor.amx import MicroKernel
from eq_tvm.schedules.processor.instructions import choices, choose

FAMILY = FAMILIES["tdpbusd-tile"]


@pytest.mark.parametrize(("inputs", "multiply"), [((0, 255), "tdpbusd"), ((-127, 127), "tdpbssd")])
@pytest.mark.parametrize("vectors", [2, 4])
def test_the_object_code(inputs, multiply, vectors):
    """Four products for four loads, nothing spilled, the configuration loaded once for all tiles of a task."""
    instruction, offset = choose(FAMILY.features, inputs, 127)
    conv = Conv2D(1, 14, 14, 128, 64, (3, 3), padding=(1, 1, 1, 1))
    plan = DirectPlan(conv, instruction, Output("uint8"), DirectTiling(vectors, 14, rows=2))
    assert offset == 0
    assembly = FAMILY.build([direct_conv(plan, offset, instruction.activation)]).inspect_source("s")
    count = {name: len(re.findall(rf"^\s+{name}\b", assembly, re.M)) for name in (*INSTRUCTIONS, multiply)}
    assert count[multiply] == count["tileloadd"] > 0
    assert count["tilezero"] == count["tilestored"] == 4 * (count[multiply] > 0)
    assert count["ldtilecfg"] == count["tilerelease"] == 1


INSTRUCTIONS = ["tileloadd", "tilezero", "tilestored", "ldtilecfg", "tilerelease"]


def test_signs_decide_the_instruction():
    """No activation has to be copied for an offset, but where their range needs one."""
    for inputs, name, offset in [((0, 255), "tdpbusd", 0), ((-128, 127), "tdpbssd", 0), ((-1, 200), "tdpbusd", 1)]:
        matrices, vectors = choices(FAMILY.features, inputs, 127)
        assert (matrices[0].base_name, matrices[1]) == (f"{name}_tile", offset)
        assert vectors[0].base_name == "vpdpbusd_512"


def test_names_tell_functions_apart():
    """Functions of one name are one to LLVM, wherever they come from."""
    kernels = [
        MicroKernel(signed, rows, 2, channels, depth, reduction)
        for signed in (False, True)
        for rows in (1, 16)
        for channels in (1, 2)
        for depth in (4, 64)
        for reduction in ((1, 1, 1), (3, 1, 2), (3, 3, 1))
    ]
    assert len({kernel.name for kernel in kernels}) == len({kernel.text() for kernel in kernels}) == len(kernels)
