"""Results of x86's kernels are packed four vectors at a time, also where a pixel has one."""

import re

import numpy as np
import pytest
import tvm
from tvm import tirx
from tvm.script import tirx as T

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.lowered import COMPILE_CONFIG
from eq_tvm.schedules.convolution import packed_stores
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.processor import instructions
from eq_tvm.targets import get_target

X86, BYTES = get_target("x86"), Output("uint8", bounded=True)


def script(conv, tiling, target=X86, output=BYTES):
    weight = np.ones((conv.out_channels, conv.in_channels, *conv.kernel), "int8")
    channels = np.ones(conv.out_channels, "int32"), np.ones(conv.out_channels, "float32")
    with target.tvm_target():
        found = convolution_candidates(conv, weight, *channels, Stored("uint8", 0, 127), output, target.machine)
        return next(each for each in found if tiling in each.name).make().script(show_meta=False)


@pytest.mark.parametrize(
    "target, tiling, packed, stored",
    [
        ("x86", "1x7x", 2, [8] * 7),  # seven pixels of one vector
        ("x86", "2x3x", 2, [16] * 3),
        ("x86", "3x2x", 2, [16, 8, 8, 16]),  # the second pixel's first vector is packed with the first one's
        ("x86", "4x1x", 1, [32]),
        ("x86-vnni", "2x14x", 7, [32] * 14),
        ("x86-vnni", "3x7x", 6, [32, 16, 16, 32, 32, 16, 32, 16, 32, 16, 16, 32, 32, 16]),
    ],
)
def test_four_vectors_at_a_time(target, tiling, packed, stored):
    text = script(Conv2D(1, 1, 42, 32, 96), f" {tiling}", get_target(target))
    assert text.count("packuswb") == packed
    widths = [len(order.split(",")) for order in re.findall(r"T\.Shuffle\(\[packed\w*\[.*?\]\], \[([^\]]*)\]", text)]
    assert widths == stored


@pytest.mark.parametrize("target", ["x86", "x86-vnni"])
def test_tiles_of_winograd(target):
    conv = Conv2D(1, 16, 16, 64, 64, (3, 3), padding=(1, 1, 1, 1))
    assert script(conv, "F(4,3)", get_target(target)).count("packuswb") == 4  # a row of the tile each


def test_others_stay():
    conv = Conv2D(1, 1, 42, 32, 96)
    assert ".pack" not in script(conv, "", get_target("rpi3"))
    assert ".pack" not in script(conv, " 1x7x", output=Output("float32"))
    assert ".pack" not in script(Conv2D(1, 1, 40, 32, 90), " 1x7x")  # the last vector of a pixel is not whole


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("pixels, vectors", [(1, 2), (1, 4), (1, 6), (5, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("name", ["pmaddubsw_256_x1", "vpdpbusd_512"])
def test_the_same_bytes(monkeypatch, name, dtype, pixels, vectors):
    """By what the manual says of the instructions, on any processor."""
    monkeypatch.setattr(packed_stores, "llvm", _plain)
    instruction = instructions.named(name)
    before = _kernel(pixels, vectors, instruction.lanes, dtype)
    after = packed_stores.packed_stores(before, instruction)
    assert after.script(show_meta=False).count("Shuffle") > before.script(show_meta=False).count("Shuffle")
    shape = (pixels, vectors * instruction.lanes)
    x = np.random.default_rng(0).integers(-70000, 70000, shape).astype("int32")
    x[:, ::3] //= 256
    results = [_run(func, x, shape, dtype) for func in (before, after)]
    info = np.iinfo(dtype)
    expected = np.clip(np.clip(x, info.min, info.max), info.min + 3, info.max - 5).astype(dtype)
    for result in results:
        np.testing.assert_array_equal(result, expected)


def _kernel(pixels, vectors, lanes, dtype):
    """Loops as those of a kernel's results."""
    info = np.iinfo(dtype)
    shape = (pixels, vectors * lanes)
    x, out = tirx.decl_buffer(shape, "int32", "x"), tirx.decl_buffer(shape, dtype, "out")
    w, v, lane = (tirx.Var(name, "int32") for name in ("w", "v", "lane"))
    place = [w, v * lanes + lane]
    saturated = tirx.Cast(dtype, tirx.min(tirx.max(x[tuple(place)], int(info.min)), int(info.max)))
    low, high = (tirx.const(int(end), dtype) for end in (info.min + 3, info.max - 5))
    body = tirx.BufferStore(out, tirx.min(tirx.max(saturated, low), high), place)
    body = tirx.For(lane, 0, lanes, tirx.ForKind.VECTORIZED, body)
    for var, extent in ((v, vectors), (w, pixels)):
        body = tirx.For(var, 0, extent, tirx.ForKind.UNROLLED, body)
    return tirx.PrimFunc([x, out], body)


def _run(func, x, shape, dtype):
    with tvm.transform.PassContext(config=COMPILE_CONFIG):
        run = tvm.compile(func.with_attr("global_symbol", "main"), target="llvm")
    out = tvm.runtime.tensor(np.zeros(shape, dtype))
    run(tvm.runtime.tensor(x), out)
    return out.numpy()


def _plain(name, dtype, first, second):
    """Of each 128 bits of two registers in turn, all elements, saturated to half their width."""
    bits, count = re.fullmatch(r"int(8|16)x(\d+)", dtype).groups()
    low, high = (0, 255) if "packus" in name else (-(2 ** (int(bits) - 1)), 2 ** (int(bits) - 1) - 1)
    wide = f"int{2 * int(bits)}x{int(count) // 2}"
    kind = f"{'u' if low == 0 else ''}int{bits}x{int(count) // 2}"
    ends = [tirx.Broadcast(tirx.const(end, wide.split("x")[0]), int(count) // 2) for end in (low, high)]
    parts = [tirx.Cast(kind, tirx.min(tirx.max(each, ends[0]), ends[1])) for each in (first, second)]
    inside = 128 // (2 * int(bits))
    order = [
        which * (int(count) // 2) + start + i
        for start in range(0, int(count) // 2, inside)
        for which in (0, 1)
        for i in range(inside)
    ]
    return T.reinterpret(tirx.Shuffle(parts, [T.int32(at) for at in order]), dtype=dtype)
