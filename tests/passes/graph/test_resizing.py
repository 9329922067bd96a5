"""Resizing on integers: from ONNX to kernels, equal to the interpreter."""

import integer_ops as ops
import numpy as np
import pytest
import tvm
from aarch64 import export
from hypothesis import given
from hypothesis import strategies as st
from interpreter import run_annotated
from onnx_models import canonical, check_against_onnxruntime, write_model
from rewriting import module
from small_networks import build, conv, pairs, random, relu, run
from tvm import relax

from eq_tvm import passes, pipeline
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.graph.resizing import is_exact, resize
from eq_tvm.targets import get_target

FEW = passes.Candidates(count=5)

COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDINGS = ["", "round", "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
TWICE = {"scales": np.float32([1, 1, 2, 2])}
NODES = [
    (mode, coordinates, rounding)
    for mode, rounding in (("nearest", "floor"), ("nearest", "round_prefer_floor"), ("linear", "floor"))
    for coordinates in ("half_pixel", "asymmetric", "align_corners")
]


def _resize(x, size, method, coordinates, rounding=""):
    return relax.op.image.resize2d(
        x, size, method=method, coordinate_transformation_mode=coordinates, rounding_method=rounding
    )


@given(st.data())
def test_rows_and_columns(data):
    """What the passes compute of them, for integers, is the definition; for floats it is close to TVM's operator."""
    method, mode = data.draw(st.sampled_from(["nearest_neighbor", "linear"])), data.draw(st.sampled_from(COORDINATES))
    rounding = data.draw(st.sampled_from(ROUNDINGS)) if method == "nearest_neighbor" else ""
    shape, size = (data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12))) for _ in range(2))
    q = np.random.default_rng(0).integers(-128, 128, (1, 2, *shape), "int8")
    var = relax.Var("x", relax.TensorType(q.shape, "float32"))
    call = _resize(var, size, method, mode, rounding)
    assert is_exact(call)
    expected = ops.resize(q, size, method, mode, rounding)
    np.testing.assert_array_equal(resize(call, q), expected, strict=True)
    np.testing.assert_allclose(resize(call, q.astype("float32")), expected, atol=0.5)


@pytest.mark.parametrize("size", [(18, 22), (3, 5), (13, 7), (9, 1)], ids=str)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_bilinear_is_that_of_relax(coordinates, size):
    if coordinates == "align_corners" and 1 in size:
        pytest.skip("TVM divides by zero there")
    mod, x = module(lambda x: _resize(x, size, "linear", coordinates), (1, 3, 9, 11)), random(1, 3, 9, 11)
    node = read_network(mod).nodes[1]
    assert node.op == "resize"
    np.testing.assert_allclose(resize(node.expr, x), run(mod, x), atol=3e-3)  # weights of 11 bits


@pytest.mark.parametrize("mode,coordinates,rounding", NODES)
def test_from_onnx(tmp_path, mode, coordinates, rounding):
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Relu", "c", "r", {}),
        ("Resize", "r - scales", "s", attributes),
        ("Conv", "s v", "y", {}),
    ]
    weights = {"w": random(8, 3, 3, 3), "v": random(4, 8, 3, 3), **TWICE}
    path = write_model(tmp_path / "m.onnx", nodes, {"x": [1, 3, 8, 9]}, ["y"], weights)
    check_against_onnxruntime(path)
    images = random(6, 3, 8, 9)
    annotated = passes.MinMaxCalibrate({"x": images})(canonical(path))
    assert len(pairs(annotated)) == 2  # the resized tensor keeps its scale
    (expected,) = run_annotated(annotated, {"x": images[:1]})
    np.testing.assert_array_equal(_run(annotated, images[:1]), expected, strict=True)
    simulated = run(annotated, images[:1])
    np.testing.assert_allclose(expected, simulated, atol=0.03 * np.abs(simulated).max())


def test_every_target_and_scheme(aarch64, tmp_path):
    """A decoder: resized features joined with finer ones, which share their scale."""

    def make(emit, x):
        fine = relu(emit, conv(emit, x, "a", out=8), "fine")
        coarse = emit(relax.op.nn.silu(conv(emit, fine, "bb", out=8, strides=(2, 2))), "coarse")
        wide = emit(_resize(coarse, (8, 8), "linear", "half_pixel"), "wide")
        again = emit(
            _resize(
                emit(relax.op.nn.max_pool2d(coarse, (2, 2), (2, 2)), "pool"),
                (8, 8),
                "nearest_neighbor",
                "asymmetric",
                "floor",
            ),
            "again",
        )
        y = conv(emit, emit(relax.op.concat([fine, wide, again], 1), "joined"), "last")
        return [y, emit(_resize(y, (16, 16), "linear", "half_pixel"), "output")]

    mod, images = build(make), random(6, 3, 8, 8)
    for scheme in ("int7", "int8"):
        annotated = passes.EasyQuantCalibrate({"x": images}, scheme=scheme, weights=FEW, activations=FEW)(mod)
        assert len({scale for *_, scale in pairs(annotated).values()}) == 3
        expected = run_annotated(annotated, {"x": images[:1]})
        np.testing.assert_array_equal(_run(annotated, images[:1])[0], expected[0], strict=True)
        library = export(pipeline.build(annotated, get_target("rpi4"))[0], tmp_path / "network.so")
        np.testing.assert_array_equal(aarch64.run_vm(library, [images[:1]])[0], expected[0], strict=True)


def test_cubic_resizing_stays_float():
    def make(emit, x):
        resized = emit(_resize(relu(emit, conv(emit, x, "a"), "r"), (16, 16), "cubic", "half_pixel"), "resized")
        return [conv(emit, resized, "last")]

    annotated = passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)})(build(make))
    assert set(pairs(annotated)) == {"x", "resized"}


def _run(mod, images):
    main = relax.VirtualMachine(pipeline.build(mod, get_target("x86"))[0], tvm.cpu())["main"]
    result = main(tvm.runtime.tensor(images))
    return result.numpy() if isinstance(result, tvm.runtime.Tensor) else [field.numpy() for field in result]
