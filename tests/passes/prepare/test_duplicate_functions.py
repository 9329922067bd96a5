"""Functions that a layer reads in integers, and the network's outputs read in float."""

import numpy as np
import pytest
import tvm
from interpreter import run_annotated
from small_networks import bindings, build, conv, pairs, random, relu, run
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes import DuplicateFunctions, MinMaxCalibrate
from eq_tvm.targets import get_target

IMAGES = {"x": random(20, 3, 8, 8, seed=7)}


def head(emit, x):
    """A mask up to 1, an output that a layer reads as well, beside features up to some hundred."""
    features = relu(emit, conv(emit, x, "a", weight=40 * random(6, 3, 3, 3)), "ra")
    mask = emit(relax.op.sigmoid(conv(emit, x, "bb", out=2)), "mask")
    flat = emit(relax.op.reshape(mask, (1, 2, 64)), "flat")
    square = emit(relax.op.reshape(flat, (1, 2, 8, 8)), "square")
    joined = emit(relax.op.concat([features, square], axis=1), "joined")
    return [flat, conv(emit, joined, "c"), emit(relax.op.nn.softmax(mask), "shares")]


def test_float_readers_get_copies():
    mod = DuplicateFunctions()(build(head))
    found = bindings(mod)
    assert found["mask_copy"].op.name == "relax.sigmoid" and found["flat_copy"].args[0].name == "mask_copy"
    assert found["square"].args[0].name == "flat" and found["flat"].args[0].name == "mask"
    assert found["shares"].args[0].name == "mask_copy"
    assert "square_copy" not in found
    assert {"mask", "mask_copy"} & set(pairs(MinMaxCalibrate(IMAGES)(mod))) == {"mask"}


@pytest.mark.parametrize("target", ["x86", "native"])
def test_what_leaves_is_not_rounded_to_the_scale_of_the_layer_that_reads_it(target):
    mod, image = build(head), random(1, 3, 8, 8, seed=9)
    expected = run(mod, image)[0]
    for method in ("minmax", "mse+"):
        prepared = pipeline.prepare(mod, IMAGES, method=method, scheme="int8")
        annotated, _ = pipeline.quantize(prepared, IMAGES, method=method, scheme="int8")
        main = relax.VirtualMachine(pipeline.build(annotated, get_target(target))[0], tvm.cpu())["main"]
        results = [result.numpy() for result in main(tvm.runtime.tensor(image))]
        for result, integer in zip(results[:2], run_annotated(annotated, {"x": image}), strict=False):
            np.testing.assert_array_equal(result, integer)
        assert np.abs(results[0] - expected).max() < 0.05  # one step of what "c" reads is 1 or more


def test_nothing_to_copy():
    def make(emit, x):
        gate = emit(relax.op.sigmoid(conv(emit, x, "a")), "gate")
        return [emit(relax.op.sigmoid(conv(emit, gate, "bb")), "y")]

    mod = build(make)
    tvm.ir.assert_structural_equal(DuplicateFunctions()(mod), mod)
