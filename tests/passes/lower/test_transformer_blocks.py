"""Attention and what surrounds it: all integers, equal to the integer program."""

import functools

import aarch64 as emulation
import c_programs
import numpy as np
import pytest
import tvm
from covering import covering
from interpreter import run_annotated
from small_networks import build, pairs, random
from small_transformer import SHAPE, transformer

from eq_tvm import pipeline
from eq_tvm.passes.islands.float_calls import float_calls
from eq_tvm.targets import get_target


@functools.cache
def calibrated(scheme):
    annotated, _ = pipeline.calibrate(
        build(transformer, SHAPE), {"x": random(6, *SHAPE[1:])}, scheme=scheme, method="minmax"
    )
    x = random(*SHAPE, seed=9)
    return annotated, x, run_annotated(annotated, {"x": x})


def test_ranges():
    """The stream and scores have 12 bits, as only sums and rows read them."""
    found = pairs(calibrated("int7")[0])
    assert found["positions"][0] == found["a_attended"][0] == found["a_scores"][0] == "int16"
    assert found["a_shares"][:3] == ("int16", 0, 4095)
    assert found["a_norm"][:3] == ("int8", -63, 63)


def lowered(scheme, target):
    module, _ = pipeline.lower(calibrated(scheme)[0], get_target(target))
    return module


@pytest.mark.parametrize("target", ["x86", "rpi3"])
def test_no_float_operator_is_left(target):
    calls = float_calls(lowered("int8", target))
    assert calls == {}


@pytest.mark.parametrize("scheme, target", covering(["int8", "int7", "int6", "w8a12"], ["native", "x86"]))
def test_x86_computes_the_integer_program(scheme, target):
    annotated, x, expected = calibrated(scheme)
    executable, _ = pipeline.build(annotated, get_target(target))
    result = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
    np.testing.assert_array_equal(result.numpy(), expected[0])


@pytest.mark.parametrize("target, machine", [("rpi3", "aarch64"), ("rpi5", "aarch64_dotprod")])
def test_on_a_board(request, tmp_path, target, machine):
    board = request.getfixturevalue(machine)
    for scheme in ("int7", "int8"):
        annotated, x, expected = calibrated(scheme)
        built, _ = pipeline.build(annotated, get_target(target))
        result = board.run_vm(emulation.export(built, tmp_path / f"{scheme}.so"), [x])
        np.testing.assert_array_equal(result[0] if isinstance(result, list) else result, expected[0])


@pytest.mark.parametrize("target, cpu", [("x86", None), ("rpi4", "cortex-a72"), ("rpi2-32", "cortex-a7")])
def test_standalone(request, tmp_path, target, cpu):
    if cpu is not None:
        request.getfixturevalue("armv7" if target.endswith("32") else "aarch64")
    annotated, x, expected = calibrated("int8")
    library = c_programs.write(annotated, target, tmp_path / "library")
    results, _ = c_programs.run(library, get_target(target), [x], threads=2, cpu=cpu)
    np.testing.assert_array_equal(results[0], expected[0], strict=True)


KEPT = {"a_shares": "softmax", "positions": "add", "a_norm": "layer_norm"}


@pytest.mark.parametrize("kept", KEPT)
def test_kept_float(kept):
    """Whether something else reads the same integers or not."""
    module = build(transformer, SHAPE)
    images = {"x": random(6, *SHAPE[1:])}
    annotated, _ = pipeline.calibrate(module, images, scheme="int8", method="minmax", kept={kept: "float"})
    lowered, _ = pipeline.lower(annotated, get_target("x86"))
    assert [name for name in float_calls(lowered) if KEPT[kept] in name]
    executable, _ = pipeline.build(annotated, get_target("native"))
    x = random(*SHAPE, seed=9)
    result = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    (exact,) = run_annotated(annotated, {"x": x})
    np.testing.assert_allclose(result, exact, atol=0.05 * np.abs(exact).max())
