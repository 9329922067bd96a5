"""LowerToInteger on small networks made by hand: equal to the interpreter, and integers where integers are meant."""

import numpy as np
import pytest
import tvm
from covering import covering
from interpreter import run_annotated
from small_networks import build, conv, random, relu
from tvm import relax
from tvm.ir.transform import Sequential

from eq_tvm import passes, pipeline
from eq_tvm.passes.graph.rewrite import Graph, operator_name
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.targets import get_target

X86 = "x86"
FEW = passes.Candidates(count=10)


def _pool(kind, emit, x, **attrs):
    return emit(getattr(relax.op.nn, f"{kind}_pool2d")(x, **attrs), f"{kind}_pool")


def _residual_of_two_convs(emit, x):
    a, b = conv(emit, x, "a"), conv(emit, x, "bb")
    return [relu(emit, emit(relax.op.add(a, b), "sum"), "out")]


def _around_itself(emit, x):
    """Padded by its own other side, as one-dimensional networks do."""
    y = relu(emit, conv(emit, x, "a", out=8), "ra")
    left, right = (emit(relax.op.strided_slice(y, [3], [at], [at + 2]), f"from{at}") for at in (6, 0))
    joined = emit(relax.op.concat([left, y, right], 3), "around")
    return [emit(relax.op.add(conv(emit, joined, "last", out=8), joined), "sum")]


def _resized(emit, x):
    """By kernels for many channels and, of the image itself, for few."""

    def resize(y, method, size):
        how = {"rounding_method": "floor", "coordinate_transformation_mode": "asymmetric"}
        if method == "linear":
            how["coordinate_transformation_mode"] = "half_pixel"
        return emit(relax.op.image.resize2d(y, relax.ShapeExpr(size), layout="NCHW", method=method, **how), "resized")

    y = resize(relu(emit, conv(emit, x, "a", out=8), "ra"), "linear", (11, 16))
    y = conv(emit, resize(conv(emit, y, "bb", out=8), "nearest_neighbor", (16, 8)), "c", out=3)
    nearest, linear = resize(x, "nearest_neighbor", (16, 12)), resize(x, "linear", (5, 12))
    return [y, conv(emit, nearest, "dddd"), conv(emit, linear, "eeeee")]


def _residual_of_activations(emit, x):
    a, b = relu(emit, conv(emit, x, "a"), "ra"), relu(emit, conv(emit, x, "bb"), "rb")
    return [conv(emit, emit(relax.op.clip(emit(relax.op.add(a, b), "sum"), 0, 1), "clipped"), "last")]


def _concat_of_branches(emit, x):
    a, b = relu(emit, conv(emit, x, "a", out=5), "ra"), conv(emit, x, "bb", out=12)
    joined = emit(relax.op.concat([a, _pool("max", emit, b, pool_size=(3, 3), strides=(1, 1), padding=(1, 1))], 1), "j")
    return [conv(emit, joined, "last", out=7)]


def _poolings(emit, x):
    y = relu(emit, conv(emit, x, "a", out=8), "ra")
    y = _pool("max", emit, y, pool_size=(3, 3), strides=(2, 2), padding=(0, 0, 1, 1))
    y = _pool("avg", emit, y, pool_size=(3, 3), strides=(1, 1), padding=(1, 1), count_include_pad=False)
    y = _pool("avg", emit, conv(emit, y, "bb", out=6), pool_size=(2, 2), strides=(2, 2), count_include_pad=True)
    return [emit(relax.op.mean(y, [2, 3], keepdims=True), "mean")]


def _mean_without_its_axes(emit, x):
    mean = emit(relax.op.mean(relu(emit, conv(emit, x, "a", out=9), "ra"), [2, 3], keepdims=False), "mean")
    return [emit(relax.op.matmul(mean, relax.const(random(9, 10))), "dense")]


def _flatten_of_a_map(emit, x):
    y = relu(emit, conv(emit, x, "a", out=6), "ra")
    flat = emit(relax.op.reshape(y, (1, 6 * 64)), "flat")
    dense = emit(relax.op.matmul(flat, relax.const(random(6 * 64, 10))), "dense")
    return [emit(relax.op.add(dense, relax.const(random(10))), "out")]


def _slice_and_pad(emit, x):
    y = relu(emit, conv(emit, x, "a"), "ra")
    short = emit(relax.op.strided_slice(y, [2, 3], [0, 0], [8, 8], [2, 2], assume_inbound=False), "slice")
    wide = emit(relax.op.nn.pad(short, (0, 0, 2, 2, 0, 0, 0, 0)), "pad")
    main = conv(emit, y, "bb", out=8, strides=(2, 2))
    return [conv(emit, relu(emit, emit(relax.op.add(main, wide), "sum"), "rsum"), "last")]


def _permuted_heads(emit, x):
    y = relu(emit, conv(emit, x, "a"), "ra")
    heads = [emit(relax.op.permute_dims(conv(emit, y, name, out=6), [0, 2, 3, 1]), f"p{name}") for name in ("b", "cc")]
    rows = [emit(relax.op.reshape(head, (1, -1, 2)), f"r{i}") for i, head in enumerate(heads)]
    return [emit(relax.op.concat(rows, 1), "joined"), rows[0]]


def _column(emit, x):
    column = emit(relax.op.reshape(relu(emit, conv(emit, x, "a", out=6), "ra"), (1, 6, 64, 1)), "column")
    weights = random(10, 6, 5, 1), random(10, 1, 3, 1)
    y = emit(relax.op.nn.conv2d(column, relax.const(weights[0]), strides=(2, 1), padding=(1, 0, 2, 0)), "y")
    return [emit(relax.op.nn.conv2d(relu(emit, y, "ry"), relax.const(weights[1]), groups=10, dilation=(2, 1)), "z")]


def _float_island(emit, x):
    y = emit(relax.op.sigmoid(conv(emit, x, "a")), "sigmoid")
    y = emit(relax.op.multiply(y, relu(emit, conv(emit, x, "bb"), "rb")), "gate")
    return [conv(emit, y, "last")]


def _dilated_poolings(emit, x):
    y = relu(emit, conv(emit, x, "a", out=8), "ra")
    y = _pool("max", emit, y, pool_size=(2, 3), strides=(1, 2), padding=(1, 2, 0, 1), dilation=(2, 2))
    return [conv(emit, _pool("avg", emit, y, pool_size=(2, 2), padding=(1, 1), dilation=(3, 1)), "last")]


def _concat_along_the_height(emit, x):
    parts = [relu(emit, conv(emit, x, "a"), "ra"), conv(emit, x, "bb")]
    return [conv(emit, emit(relax.op.concat(parts, 2), "joined"), "last")]


def _grouped(emit, x):
    y = relu(emit, conv(emit, x, "a", out=12), "ra")
    y = relu(emit, conv(emit, y, "depthwise", bias=False, weight=random(12, 1, 3, 3), groups=12), "rd")
    return [conv(emit, y, "grouped", bias=False, weight=random(18, 4, 3, 3), groups=3, dilation=(2, 1), strides=(1, 2))]


def _padded_by_a_number(emit, x):
    y = emit(relax.op.nn.pad(relu(emit, conv(emit, x, "a"), "ra"), (0, 0, 0, 1, 1, 0, 2, 0), "constant", 0.5), "pad")
    return [conv(emit, y, "last")]


def _pixel_reshaped_to_an_image(emit, x):
    mean = emit(relax.op.mean(relu(emit, conv(emit, x, "a", out=16), "ra"), [2, 3], keepdims=True), "mean")
    pixel = relu(emit, conv(emit, mean, "bb", out=16), "rb")
    return [conv(emit, emit(relax.op.reshape(pixel, (1, 4, 2, 2)), "image"), "last")]


def _below_zero(emit, x):
    """Padding adds zeros that the tensor itself has not."""
    return [conv(emit, emit(relax.op.clip(conv(emit, x, "a", out=8), -0.4, -0.1), "ca"), "last")]


def _tall_kernels(emit, x):
    y = relu(emit, conv(emit, x, "a", weight=random(33, 3, 7, 1)), "ra")
    return [conv(emit, y, "last", weight=random(5, 33, 2, 1), strides=(2, 1))]


def _rows_of_a_dense_layer(emit, x):
    rows = emit(relax.op.reshape(x, (12, 16)), "rows")
    y = relu(emit, emit(relax.op.add(emit(relax.op.matmul(rows, relax.const(random(16, 9))), "a"), _CONST), "sum"), "r")
    return [emit(relax.op.matmul(y, relax.const(random(9, 5))), "dense")]


def _nhwc(emit, x):
    image = emit(relax.op.permute_dims(emit(relax.op.reshape(x, (1, 8, 8, 3)), "nhwc"), [0, 3, 1, 2]), "nchw")
    return [emit(relax.op.permute_dims(relu(emit, conv(emit, image, "a"), "ra"), [0, -2, -1, 1]), "back")]


def _unequal_groups(emit, x):
    y = relu(emit, conv(emit, x, "a", out=12), "ra")
    y = relu(emit, conv(emit, y, "grouped", weight=random(8, 6, 3, 3), groups=2), "rg")
    shuffled = emit(
        relax.op.permute_dims(emit(relax.op.reshape(y, (1, 2, 4, 8, 8)), "split"), [0, 2, 1, 3, 4]), "turned"
    )
    y = emit(relax.op.reshape(shuffled, (1, 8, 8, 8)), "joined")
    return [conv(emit, y, "last", weight=random(16, 2, 3, 3), groups=4)]


_CONST = relax.const(random(9))
NETWORKS = [
    _residual_of_two_convs,
    _residual_of_activations,
    _concat_of_branches,
    _poolings,
    _mean_without_its_axes,
    _flatten_of_a_map,
    _slice_and_pad,
    _permuted_heads,
    _float_island,
    _dilated_poolings,
    _concat_along_the_height,
    _grouped,
    _padded_by_a_number,
    _pixel_reshaped_to_an_image,
    _below_zero,
    _tall_kernels,
    _rows_of_a_dense_layer,
    _nhwc,
    _unequal_groups,
    _column,
    _around_itself,
    _resized,
]


def _name(value):
    return value if isinstance(value, str) else value.__name__.strip("_")


@pytest.mark.parametrize("make, scheme", covering(NETWORKS, ["int7", "int8"]), ids=_name)
def test_equals_the_interpreter(make, scheme):
    module, images = build(make), random(6, 3, 8, 8)
    annotated = passes.MinMaxCalibrate({"x": images}, scheme=scheme)(module)
    got = _run(pipeline.build(annotated, get_target(X86))[0], images[:1])
    for result, expected in zip(got, run_annotated(annotated, {"x": images[:1]}), strict=True):
        np.testing.assert_array_equal(result, expected, strict=True)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__.strip("_"))
def test_float_kernels_compute_the_network(make):
    module, images = build(make), random(1, 3, 8, 8)
    expected = _run(tvm.compile(module, "llvm"), images)
    for result, reference in zip(_run(pipeline.build(module, get_target(X86))[0], images), expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-4)


def test_a_layer_that_nothing_reads_gets_no_kernel():
    def make(emit, x):
        y = relu(emit, conv(emit, x, "a", out=8), "ra")
        conv(emit, y, "unread")
        return [conv(emit, y, "last")]

    images, lower = random(4, 3, 8, 8), passes.LowerToInteger(get_target(X86).machine)
    lower(passes.MinMaxCalibrate({"x": images})(build(make)))
    assert [layer["layer"] for layer in lower.record] == ["a", "last"]


def test_a_region_stays_integer_from_end_to_end():
    module, images = build(_concat_of_branches), random(4, 3, 8, 8)
    lowered = passes.LowerToInteger(Machine({"smlal": 8.0}))(passes.MinMaxCalibrate({"x": images})(module))
    real = [str(b.var.ty.dtype) == "float32" for b in lowered["main"].body.blocks[0].bindings]
    assert real.index(True) == 5 and all(real[real.index(True) :])  # float only from the last convolution's result on


@pytest.mark.parametrize("calibrate", [passes.MinMaxCalibrate, None])
def test_an_nhwc_input_is_not_copied(calibrate):
    def make(emit, x):
        return [conv(emit, emit(relax.op.permute_dims(x, [0, 3, 1, 2]), "nchw"), "a")]

    module = build(make, (1, 8, 8, 3))
    annotated = module if calibrate is None else calibrate({"x": random(2, 8, 8, 3)})(module)
    lowered = passes.LowerToInteger(Machine({"smlal": 8.0}))(annotated)
    calls = [value for value in Graph(lowered).values.values() if operator_name(value) == "relax.call_tir"]
    assert sum("transpose" in call.args[0].name_hint for call in calls) == 1  # of the result


@pytest.mark.parametrize(
    "make", [_residual_of_activations, _mean_without_its_axes, _grouped], ids=lambda make: make.__name__.strip("_")
)
@pytest.mark.parametrize("method", ["easyquant+", "mse+"])
def test_batches(make, method):
    """Three images at a time, in calibration as well: as the interpreter, and close to the float network."""
    module, images = build(make, (3, 3, 8, 8)), random(4, 3, 3, 8, 8)
    annotated, _ = pipeline.calibrate(module, {"x": images}, scheme="int8", method=method)
    (got,) = _run(pipeline.build(annotated, get_target(X86))[0], images[0])
    np.testing.assert_array_equal(got, run_annotated(annotated, {"x": images[0]})[0], strict=True)
    (real,) = _run(pipeline.build(module, get_target(X86))[0], images[0])
    assert np.vdot(real, got) > 0.99 * np.linalg.norm(real) * np.linalg.norm(got)


def test_passes_work_inside_a_flow_of_ones_own():
    module, images = build(_poolings), random(4, 3, 8, 8)
    target = tvm.target.Target({"kind": "llvm", "mcpu": "haswell"})
    with target:
        flow = Sequential(
            [
                relax.transform.CanonicalizeBindings(),
                *passes.canonical_passes(),
                passes.EasyQuantCalibrate({"x": images}, weights=FEW, activations=FEW),
                relax.transform.DeadCodeElimination(),
                passes.LowerToInteger(Machine({"pmaddubsw": 40.0, "pmaddwd-256": 32.0})),
                relax.transform.LegalizeOps(),
                passes.ScheduleFallback(),
            ]
        )
        executable = tvm.compile(flow(module), target=target)
    reference = _run(tvm.compile(module, "llvm"), images[:1])[0]
    np.testing.assert_allclose(_run(executable, images[:1])[0], reference, atol=0.1 * np.abs(reference).max())


def test_values_that_are_quantized_behind_a_concat():
    """Not what calibration makes, but the integer program gives it a meaning."""

    def quantized(emit, x, name, scale):
        scale, zero = relax.const(np.float32(scale)), relax.const(np.int8(0))
        q = emit(relax.op.quantize(x, scale, zero, out_dtype="int8"), f"{name}_q")
        return emit(relax.op.dequantize(q, scale, zero), f"{name}_dq")

    def make(emit, x):
        a, b = quantized(emit, x, "a", 0.02), quantized(emit, x, "b", 0.03)
        weight = relax.op.dequantize(
            relax.const(np.int8(np.clip(random(5, 3, 1, 1) * 50, -127, 127))),
            relax.const(np.full(5, 0.01, "float32")),
            relax.const(np.zeros(5, "int8")),
            axis=0,
        )
        y = emit(relax.op.nn.conv2d(a, emit(weight, "w")), "conv")
        joined = relu(emit, emit(relax.op.concat([a, y, b], 1), "joined"), "relu")
        return [emit(relax.op.mean(quantized(emit, joined, "j", 0.025), [2, 3]), "mean")]

    module, images = build(make), random(1, 3, 8, 8)
    got = _run(pipeline.build(module, get_target(X86))[0], images)
    np.testing.assert_array_equal(got[0], run_annotated(module, {"x": images})[0], strict=True)


def test_a_foreign_zero_point_stays_float():
    def make(emit, x):
        scale, zero = relax.const(np.float32(0.05)), relax.const(np.uint8(128))
        q = emit(relax.op.quantize(x, scale, zero, out_dtype="uint8"), "q")
        return [conv(emit, emit(relax.op.dequantize(q, scale, zero), "d"), "a")]

    module, images = build(make), random(1, 3, 8, 8)
    result = _run(pipeline.build(module, get_target(X86))[0], images)[0]
    np.testing.assert_allclose(result, _run(tvm.compile(module, "llvm"), images)[0], rtol=1e-4, atol=1e-4)


def test_an_accumulator_that_could_overflow_is_refused():
    def make(emit, x):
        y = emit(relax.op.reshape(relu(emit, conv(emit, x, "a", out=1100), "ra"), (1, 1100 * 64)), "flat")
        return [emit(relax.op.matmul(y, relax.const(np.ones((1100 * 64, 1), "float32"))), "dense")]

    annotated = passes.MinMaxCalibrate({"x": random(2, 3, 8, 8)}, scheme="int8")(build(make))
    with pytest.raises(ValueError, match=r"dense.*beyond 32 bits"):
        pipeline.build(annotated, get_target(X86))[0]


def _run(executable, images):
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(images))
    return [result.numpy()] if isinstance(result, tvm.runtime.Tensor) else [field.numpy() for field in result]
