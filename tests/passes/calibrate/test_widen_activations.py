"""Which activations get 12 bits, and what the network's outputs gain."""

import numpy as np
import pytest
import tvm
from interpreter import run_annotated
from small_networks import build, conv, pairs, random, relu
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes import compare_outputs, part_cosines
from eq_tvm.targets import get_target

SHAPE = (1, 3, 12, 12)
CLOSE = 0.99


def network(emit, x):
    """Layers, the third of which reads a tensor that one channel makes coarse, though its weights for it are small."""
    a = relu(emit, conv(emit, x, "a", out=8), "ra")
    loud = random(8, 8, 3, 3, seed=2)
    loud[0] *= 300
    b = relu(emit, conv(emit, a, "bb", weight=loud), "rb")
    quiet = random(8, 8, 3, 3, seed=3)
    quiet[:, 0] /= 3000
    c = relu(emit, conv(emit, b, "c", weight=quiet), "rc")
    return [conv(emit, c, "d")]


def product(emit, x):
    """One of two activations, the second of which is packed as weights are."""
    a, b = (conv(emit, x, name, out=4) for name in ("a", "bb"))
    rows = emit(relax.op.reshape(a, (1, 4, 144)), "rows")
    columns = emit(relax.op.permute_dims(emit(relax.op.reshape(b, (1, 4, 144)), "flat"), [0, 2, 1]), "columns")
    return [emit(relax.op.matmul(rows, columns), "y")]


def calibrated(make, scheme, min_cosine, method="minmax"):
    mod = build(make, SHAPE)
    annotated, record = pipeline.quantize(
        mod, {"x": random(6, *SHAPE[1:])}, scheme=scheme, method=method, min_cosine=min_cosine
    )
    batches = [{"x": random(4, *SHAPE[1:], seed=9)}]
    cosine = min(part_cosines(mod, compare_outputs(mod, annotated, batches, scheme=scheme)))
    return annotated, {layer.layer: layer.scheme for layer in record}, cosine


@pytest.mark.parametrize("method", ["minmax", "mse", "mse+", "easyquant"])
def test_widens_what_loses_most(method):
    _, schemes, before = calibrated(network, "int8", 0.0, method)
    assert set(schemes.values()) == {"int8"} and before < CLOSE
    annotated, schemes, after = calibrated(network, "int8", CLOSE, method)
    assert schemes == {"a": "int8", "bb": "int8", "c": "w8a12", "d": "int8"} and after >= CLOSE
    assert pairs(annotated)["rb"][:3] == ("int16", 0, 4095)


def test_near_enough_already():
    annotated, schemes, _ = calibrated(network, "int8", 0.5)
    assert set(schemes.values()) == {"int8"}
    assert "int16" not in {dtype for dtype, *_ in pairs(annotated).values()}


def mask(emit, x):
    """Steps of its one layer's input turn a few of its edges."""
    logits = conv(emit, relu(emit, conv(emit, x, "a", out=8), "ra"), "bb", out=2)
    return [emit(relax.op.sigmoid(emit(relax.op.multiply(logits, relax.const(4.0)), "steep")), "mask")]


def test_masks_need_more():
    _, schemes, cosine = calibrated(mask, "int8", 0.0)
    assert set(schemes.values()) == {"int8"} and cosine > 0.998
    _, schemes, _ = calibrated(mask, "int8", 0.997)
    assert "w8a12" in schemes.values()


def test_as_much_as_there_is():
    """What can't be reached takes all."""
    annotated, schemes, _ = calibrated(network, "int7", 1 - 1e-9)
    assert set(schemes.values()) == {"w8a12"}
    assert {dtype for dtype, *_ in pairs(annotated).values()} == {"int16"}


def test_the_second_operand_of_a_product_stays():
    annotated, _, _ = calibrated(product, "int8", 1 - 1e-9)
    dtypes = {name: dtype for name, (dtype, *_) in pairs(annotated).items()}
    assert dtypes == {"x": "int16", "a_sum": "int16", "bb_sum": "int8"}


@pytest.mark.parametrize("make", [network, product])
@pytest.mark.parametrize("scheme", ["int7", "int8"])
@pytest.mark.parametrize("target", ["native", "x86"])
def test_compiled(make, scheme, target):
    """Some tensors of bytes, some wider: as the interpreter has it, and as the simulation says."""
    annotated, _, _ = calibrated(make, scheme, 0.99999)
    x = random(*SHAPE, seed=5)
    (expected,) = run_annotated(annotated, {"x": x})
    built, _ = pipeline.build(annotated, get_target(target))
    result = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    np.testing.assert_array_equal(result, expected)
    ((_, simulated),) = next(iter(compare_outputs(build(make, SHAPE), annotated, [{"x": x}], scheme=scheme)))
    np.testing.assert_allclose(simulated[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["minmax", "mse+"])
def test_long_sums_keep_bytes(method):
    """4096 products of 12 bits and 8 would not fit 32."""

    def make(emit, x):
        a = relu(emit, conv(emit, x, "a", out=48), "ra")
        flat = emit(relax.op.reshape(a, (1, 48 * 144)), "flat")
        weight = np.sign(random(48 * 144, 3)) + np.float32(0)
        return [emit(relax.op.matmul(flat, relax.const(weight)), "y")]

    for scheme in ("w8a12", "int8"):
        annotated, schemes, _ = calibrated(make, scheme, 1 - 1e-9, method)
        assert pairs(annotated)["ra"][0] == "uint8" and schemes["y"] != "w8a12"
        pipeline.build(annotated, get_target("native"))
