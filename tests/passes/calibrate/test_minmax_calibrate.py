"""Where quantize/dequantize pairs stand, and what scales MinMaxCalibrate gives them."""

import numpy as np
import pytest
from small_networks import bindings, build, conv, pairs, random, relu, run
from tvm import relax

from eq_tvm.passes import MinMaxCalibrate
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.calibration_images import calibration_inputs


def calibrate(mod, images=None, **options):
    shape = [int(d) for d in mod["main"].params[0].ty.shape][1:]
    images = random(4, *shape, seed=7) if images is None else images
    return MinMaxCalibrate({"x": images}, **options)(mod)


def test_layer_bound_layer():
    def make(emit, x):
        return [conv(emit, relu(emit, conv(emit, x, "a"), "r"), "b")]

    found = pairs(calibrate(build(make)))
    assert {k: v[:3] for k, v in found.items()} == {"x": ("int8", -127, 127), "r": ("int8", 0, 127)}
    assert found["x"][3] == pytest.approx(np.abs(random(4, 3, 8, 8, seed=7)).max() / 127)


@pytest.mark.parametrize(
    ("scheme", "activation_range", "pixels", "non_negative"),
    [
        ("int6", "unsigned", ("int8", -127, 127), ("int8", 0, 63)),
        ("int7", "unsigned", ("int8", -127, 127), ("int8", 0, 127)),
        ("int8", "unsigned", ("int8", -127, 127), ("uint8", 0, 255)),
        ("int6", "symmetric", ("int8", -31, 31), ("int8", -31, 31)),
        ("int7", "symmetric", ("int8", -63, 63), ("int8", -63, 63)),
        ("int8", "symmetric", ("int8", -127, 127), ("int8", -127, 127)),
    ],
)
def test_ranges(scheme, activation_range, pixels, non_negative):
    def make(emit, x):
        return [conv(emit, relu(emit, conv(emit, x, "a"), "r"), "b")]

    annotated = calibrate(build(make), scheme=scheme, activation_range=activation_range)
    assert {k: v[:3] for k, v in pairs(annotated).items()} == {"x": pixels, "r": non_negative}
    weight = bindings(annotated)["a_weight_dq"]
    assert np.abs(weight.args[0].value.numpy().astype(int)).max() == {"int6": 31, "int7": 63, "int8": 127}[scheme]
    assert weight.attrs.axis == 0


@pytest.mark.parametrize("scheme, reach", [("int7", 63), ("int6", 63), ("int5", 31), ("int4", 15), ("w4a8", 127)])
def test_an_input_that_not_only_layers_read_is_of_the_scheme(scheme, reach):
    def make(emit, x):
        return [conv(emit, emit(relax.op.add(conv(emit, x, "a", out=3), x), "add"), "bb")]

    assert pairs(calibrate(build(make), scheme=scheme))["x"][:3] == ("int8", -reach, reach)


def test_residual_add_fuses_the_operand_bound_last():
    def make(emit, x):
        a = conv(emit, x, "a")
        b = conv(emit, x, "bb")
        return [conv(emit, relu(emit, emit(relax.op.add(a, b), "add"), "r"), "c")]

    assert set(pairs(calibrate(build(make)))) == {"x", "a_sum", "r"}


def test_residual_add_quantizes_an_operand_with_another_user():
    def make(emit, x):
        a = conv(emit, x, "a", out=3)
        r = relu(emit, a, "r")
        return [conv(emit, emit(relax.op.add(conv(emit, r, "bb", out=3), a), "add"), "c")]

    # "a_sum" has two users, so it is quantized; the relu reads it and is quantized itself
    annotated = calibrate(build(make))
    assert set(pairs(annotated)) == {"x", "a_sum", "r", "add"}
    assert bindings(annotated)["r"].args[0].name == "a_sum_dq"


def test_additions_that_leave_the_network_stay_float():
    def make(emit, x):
        a = conv(emit, x, "a", out=3)
        first = emit(relax.op.add(conv(emit, x, "bb", out=3), a), "first")
        second = emit(relax.op.add(relu(emit, first, "r"), conv(emit, first, "c", out=3)), "second")
        return [emit(relax.op.nn.softmax(second), "y"), second]

    # "c" reads the first one, so what that adds is quantized, too; of the second one nothing is
    assert set(pairs(calibrate(build(make)))) == {"x", "a_sum", "first"}


def test_add_of_a_layer_to_itself():
    def make(emit, x):
        a = conv(emit, x, "a")
        return [conv(emit, emit(relax.op.add(a, a), "add"), "bb")]

    assert set(pairs(calibrate(build(make)))) == {"x", "a_sum", "add"}


def test_pass_through_ties_producers():
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        b = relu(emit, conv(emit, x, "bb"), "rb")
        pooled = emit(relax.op.nn.max_pool2d(a, (3, 3), (1, 1), (1, 1, 1, 1)), "pool")
        both = emit(relax.op.concat([pooled, b], axis=1), "concat")
        return [conv(emit, both, "c")]

    found = pairs(calibrate(build(make)))
    assert set(found) == {"x", "ra", "rb"}
    assert found["ra"] == found["rb"]
    assert found["ra"][:3] == ("int8", 0, 127)


def test_group_is_signed_if_one_producer_is():
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        b = conv(emit, x, "bb")
        return [conv(emit, emit(relax.op.concat([a, b], axis=1), "concat"), "c")]

    found = pairs(calibrate(build(make)))
    assert found["ra"] == found["bb_sum"]
    assert found["ra"][:3] == ("int8", -63, 63)


def test_bound_behind_pool_is_quantized_itself():
    def make(emit, x):
        pooled = emit(relax.op.nn.max_pool2d(conv(emit, x, "a"), (2, 2), (2, 2)), "pool")
        return [conv(emit, relu(emit, pooled, "r"), "bb")]

    assert {k: v[:3] for k, v in pairs(calibrate(build(make))).items()} == {
        "x": ("int8", -127, 127),
        "a_sum": ("int8", -63, 63),
        "r": ("int8", 0, 127),
    }


def test_relu6_average_and_output():
    def make(emit, x):
        a = emit(relax.op.clip(conv(emit, x, "a"), 0, 6), "r6")
        mean = emit(relax.op.mean(a, [2, 3], keepdims=True), "mean")
        flat = emit(relax.op.reshape(mean, (1, 4)), "flat")
        logits = emit(relax.op.matmul(flat, relax.const(random(4, 5))), "fc")
        return [emit(relax.op.add(logits, relax.const(random(5))), "logits")]

    annotated = calibrate(build(make))
    assert set(pairs(annotated)) == {"x", "r6", "mean"}
    values = bindings(annotated)
    assert values["fc_weight_dq"].attrs.axis == 1
    assert values["fc_bias_dq"].attrs.axis == 0
    assert values["logits"].args[0].name == "fc"  # the network's output stays float


def test_float_island():
    def make(emit, x):
        a = conv(emit, x, "a")
        s = emit(relax.op.sigmoid(a), "s")
        t = emit(relax.op.nn.softmax(a), "t")
        return [conv(emit, s, "bb"), emit(relax.op.multiply(t, t), "out"), conv(emit, emit(relax.op.exp(x), "e"), "cc")]

    # nothing quantized depends on the softmax; the sigmoid's result is read by a layer and can't be negative, and its
    # operand is needed for it; the network's input is not made by integers, so that its exponential is not either
    found = pairs(calibrate(build(make)))
    assert {k: v[:3] for k, v in found.items()} == {
        "x": ("int8", -127, 127),
        "a_sum": ("int8", -127, 127),
        "s": ("int8", 0, 127),
        "e": ("int8", 0, 127),
    }


def test_concat_of_outputs_stays_float():
    def make(emit, x):
        return [emit(relax.op.concat([conv(emit, x, "a"), conv(emit, x, "bb")], axis=1), "concat")]

    assert set(pairs(calibrate(build(make)))) == {"x"}


def test_split_and_tuples():
    def make(emit, x):
        halves = emit(relax.op.split(conv(emit, x, "a"), 2, axis=1), "halves")
        first = emit(relax.TupleGetItem(halves, 0), "first")
        return [conv(emit, first, "bb"), emit(relax.TupleGetItem(halves, 1), "second")]

    mod = build(make)
    annotated = calibrate(mod)
    assert set(pairs(annotated)) == {"x", "first"}
    x = random(1, 3, 8, 8, seed=3)
    for actual, expected in zip(run(annotated, x), run(mod, x), strict=True):
        np.testing.assert_allclose(actual, expected, atol=0.15 * np.abs(expected).max())


@pytest.mark.parametrize("scheme", ["int6", "int7", "int8"])
def test_runs_as_float_simulation(scheme):
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        b = emit(relax.op.clip(conv(emit, a, "bb", groups=4, weight=random(4, 1, 3, 3)), 0, 6), "rb")
        mean = emit(relax.op.nn.avg_pool2d(emit(relax.op.add(a, b), "add"), (2, 2), (2, 2)), "mean")
        return [conv(emit, mean, "c", out=6)]

    mod = build(make)
    x = random(1, 3, 8, 8, seed=3)
    actual, expected = run(calibrate(mod, scheme=scheme), x), run(mod, x)
    cosine = (actual * expected).sum() / np.linalg.norm(actual) / np.linalg.norm(expected)
    assert cosine > {"int6": 0.99, "int7": 0.998, "int8": 0.9995}[scheme]


def test_bias_scale_is_the_product():
    annotated = calibrate(build(lambda emit, x: [conv(emit, x, "a")]))
    values = bindings(annotated)
    weight_scale = values["a_weight_dq"].args[1].value.numpy()
    bias, scale = (values["a_bias_dq"].args[i].value.numpy() for i in (0, 1))
    input_scale = np.float32(pairs(annotated)["x"][3])
    np.testing.assert_array_equal(scale, (np.float64(input_scale) * weight_scale.astype(np.float64)).astype(np.float32))
    assert bias.dtype == np.int32 and bias.shape == (1, 4, 1, 1)
    np.testing.assert_allclose(bias.reshape(-1) * scale, random(1, 4, 1, 1).reshape(-1), atol=float(scale.max()))


def test_dead_channels_and_zero_images():
    weight = random(4, 3, 3, 3)
    weight[1] = 0
    weight[2] *= 1e-25  # next to nothing: its bias must not overflow
    mod = build(lambda emit, x: [relu(emit, conv(emit, relu(emit, conv(emit, x, "a", weight=weight), "r"), "bb"), "s")])
    for images in (np.zeros((2, 3, 8, 8), np.float32), random(2, 3, 8, 8)):
        annotated = calibrate(mod, images)
        scales = bindings(annotated)["a_weight_dq"].args[1].value.numpy()
        assert np.isfinite(scales).all() and (scales > 0).all()
        assert not bindings(annotated)["a_weight_dq"].args[0].value.numpy()[1:3].any()
        actual, expected = run(annotated, images[:1]), run(mod, images[:1])
        np.testing.assert_allclose(actual, expected, atol=0.05 * np.abs(expected).max())


def test_record():
    calibration = MinMaxCalibrate({"x": random(4, 3, 8, 8)})
    calibration(build(lambda emit, x: [conv(emit, x, "a")]))
    (layer,) = calibration.record
    assert (layer.layer, layer.op, len(layer.weight_scales)) == ("a", "conv2d", 4)
    assert layer.input_scale == pytest.approx(np.abs(random(4, 3, 8, 8)).max() / 127)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"y": random(2, 3, 8, 8)}, "images for 'y', but the network's inputs are 'x'"),
        ({"x": random(2, 3, 8, 9)}, "shape"),
        ({"x": random(0, 3, 8, 8)}, "at least one"),
        ({"x": np.full((1, 3, 8, 8), np.nan)}, "NaN"),
        ({"x": np.full((1, 3, 8, 8), 1e38)}, "activations of layer 'a'"),
    ],
)
def test_unfit_images(images, message):
    with pytest.raises(ValueError, match=message):
        MinMaxCalibrate(images)(build(lambda emit, x: [conv(emit, x, "a")]))


@pytest.mark.parametrize("shape, images", [((1, 4), (5, 4)), ((1,), (5,)), ((3, 4), (5, 3, 4)), ((3,), (5, 3))])
def test_images_lack_a_batch_of_one_only(shape, images):
    mod = build(lambda emit, x: [emit(relax.op.nn.relu(x), "y")], shape)
    net = read_network(mod)
    assert calibration_inputs(net, {"x": random(*images)})[0].shape == (5, *shape)
    with pytest.raises(ValueError, match="shape"):
        calibration_inputs(net, {"x": random(*images, 2)})


def test_images_are_of_the_type_of_the_input():
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType((1, 4), "int64"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.take(relax.const(random(9, 5)), x, axis=0))
        builder.emit_func_output(y)
    inputs = calibration_inputs(read_network(builder.get()), {"x": np.array([[2**40, 1, 2, 3]])})
    assert inputs[0].tolist() == [[[2**40, 1, 2, 3]]] and inputs[0].dtype == np.int64


def test_unknown_names():
    with pytest.raises(ValueError, match="scheme 'int3': there is int4, int5, int6, int7"):
        MinMaxCalibrate({}, scheme="int3")
    with pytest.raises(ValueError, match="activation range"):
        MinMaxCalibrate({}, activation_range="positive")


def test_infinite_weight():
    weight = random(4, 3, 3, 3)
    weight[0, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="layer 'a'"):
        calibrate(build(lambda emit, x: [conv(emit, x, "a", weight=weight)]))
