"""What LLVM makes of AMX's micro-kernels, and what emulates their instructions."""

import os
import re
import subprocess
from dataclasses import replace

import pytest
from families import FAMILIES

from eq_tvm import host
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_conv import direct_conv
from eq_tvm.schedules.convolution.direct_plan import DirectPlan, DirectTiling
from eq_tvm.schedules.processor.amx import MicroKernel
from eq_tvm.schedules.processor.instructions import choices, choose

FAMILY = replace(FAMILIES["tdpbusd-tile"], cpu="sapphirerapids", attributes=())


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


@pytest.mark.parametrize(
    ("conv", "tiling", "fetched"),
    [
        (Conv2D(1, 8, 14, 64, 192, (3, 3), padding=(1, 1, 1, 1)), DirectTiling(4, 14, 4, rows=2), True),
        (Conv2D(1, 8, 14, 64, 64, (3, 3), padding=(1, 1, 1, 1)), DirectTiling(4, 14, 4, rows=2), False),
        (Conv2D(1, 1, 16, 512, 64), DirectTiling(2, 16), True),
    ],
    ids=["the next block", "a single block", "a single pass"],
)
def test_weights_are_fetched_into_the_second_cache(conv, tiling, fetched):
    instruction, offset = choose(FAMILY.features, (0, 255), 127)
    plan = DirectPlan(conv, instruction, Output("uint8"), tiling)
    assembly = FAMILY.build([direct_conv(plan, offset, "uint8")]).inspect_source("s")
    assert ("prefetcht1" in assembly) == fetched


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
        MicroKernel(signed, rows, 2, channels, depth, reduction, fetched)
        for signed in (False, True)
        for rows in (1, 16)
        for channels in (1, 2)
        for depth in (4, 64)
        for reduction in ((1, 1, 1), (3, 1, 2), (3, 3, 1))
        for fetched in (0, 3)
    ]
    assert len({kernel.name for kernel in kernels}) == len({kernel.text() for kernel in kernels}) == len(kernels)


@pytest.mark.parametrize(
    ("rows", "bytes_", "palette", "why"),
    [
        (17, 64, 1, "a tile of a shape that there is not"),
        (16, 68, 1, "a tile of a shape that there is not"),
        (16, 64, 2, "no such palette"),
        (16, 64, 0, "a tile that is not configured"),
        (16, 60, 1, "tiles whose shapes do not fit"),
        (16, 64, 1, ""),
    ],
)
def test_the_emulation_refuses_what_the_processor_would(tiles, tmp_path, rows, bytes_, palette, why):
    """Palettes, limits of rows and bytes, and shapes: 16 rows of 16 int32 += (16, `bytes_`) . (16, 64)."""
    if host.tiles_granted():
        pytest.skip("this processor has AMX: nothing is emulated")
    source = tmp_path / "main.c"
    source.write_text(f"""
#include <immintrin.h>
static char data[1024];
int main(void) {{
    struct {{ unsigned char palette, start, none[14]; unsigned short bytes[16]; unsigned char rows[16]; }} config = {{
        {palette}, 0, {{0}}, {{64, {bytes_}, 64}}, {{16, {rows}, 16}} }};
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_loadd(1, data, 60);
    _tile_zero(2);
    _tile_dpbusd(0, 1, 2);
    return 0;
}}""")
    program = tmp_path / "main"
    subprocess.run(["gcc", "-mamx-tile", "-mamx-int8", source, "-o", program], check=True)
    done = subprocess.run([program], env=os.environ | {"LD_PRELOAD": str(tiles)}, capture_output=True, text=True)
    assert (done.returncode == 0) == (why == "")
    assert why in done.stderr
