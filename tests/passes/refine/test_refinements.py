"""Passes that change the constants of an annotated module."""

import numpy as np
import pytest
import tvm
from small_networks import bindings, build, conv, network, pairs, random, relu
from tvm import relax

from eq_tvm.passes import (
    CorrectBias,
    EqualizeChannels,
    MinMaxCalibrate,
    RoundWeights,
    compare_outputs,
    even_rows,
    round_weights,
)
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.read_annotated import read_annotated
from eq_tvm.passes.quantized.simulation import Simulation
from eq_tvm.passes.refine.activation_slopes import ActivationSlopes
from eq_tvm.passes.refine.refinement import Refinement
from eq_tvm.schedules.rowwise.rowwise_form import transformed_weights


def images(count=40, seed=7):
    return {"x": random(count, 3, 8, 8, seed=seed)}


def outputs(mod, annotated=None, count=40, seed=7):
    """Of the float module, or of the annotated one that was made from it (simulated), with the last output's node."""
    problem = Problem.of(mod, images(count, seed), "int7", "unsigned")
    last = problem.net.outputs[-1]
    if annotated is None:
        return dict(problem.executor.run(problem.net, problem.inputs))[last]
    sim = Simulation(problem, read_annotated(annotated, problem))
    return next(sim.unquantized(i) for i in sim.walk() if i == last)


def errors(mod, annotated, seed=7):
    return np.square(outputs(mod, annotated, seed=seed) - outputs(mod, seed=seed))


@pytest.mark.parametrize("scheme", ["int7", "int8"])
def test_nothing_changed_annotates_the_same(scheme):
    @tvm.transform.module_pass(opt_level=0, name="Nothing")
    class Nothing(Refinement):
        def refine(self, sim, i):
            pass

    mod = build(network)
    annotated = MinMaxCalibrate(images(), scheme=scheme)(mod)
    tvm.ir.assert_structural_equal(Nothing(mod, images(2), scheme=scheme)(annotated), annotated)


def test_another_module_is_refused():
    annotated = MinMaxCalibrate(images())(build(network))
    other = build(lambda emit, x: [relu(emit, conv(emit, x, "a", out=8), "r")])
    with pytest.raises(ValueError, match="calibrat"):
        read_annotated(annotated, Problem.of(other, images(), "int7", "unsigned"))


def test_bias_correction_takes_back_the_shift():
    def make(emit, x):
        return [conv(emit, relu(emit, conv(emit, x, "a", out=8), "r"), "bb")]

    mod = build(make)
    annotated = MinMaxCalibrate(images())(mod)
    corrected = CorrectBias(mod, images())(annotated)
    assert pairs(corrected) == pairs(annotated)
    shifts = [np.abs((outputs(mod, a) - outputs(mod)).mean(axis=(0, 1, 3, 4))) for a in (annotated, corrected)]
    assert shifts[1].max() < 0.3 * shifts[0].max()  # images count differently


@pytest.mark.parametrize("bound,kept", [(relax.op.nn.relu, True), (relax.op.sigmoid, False)])
def test_what_an_activation_hides_shifts_no_bias(bound, kept):
    """Values that saturate far below zero do not move those that relu lets through."""

    def make(emit, x):
        return [conv(emit, emit(bound(conv(emit, x, "a", out=8)), "r"), "bb")]

    mod = build(make)
    problem = Problem.of(mod, images(), "int8", "unsigned")
    (bias,) = (i for i, node in enumerate(problem.net.nodes) if node.op == "bias_add" and node.shape[1] == 8)
    slopes = ActivationSlopes(problem.executor, problem.net, bias)(np.float32([-50, -1, 1, 50]))
    expected = [0, 0, 1, 1] if kept else [0, 0.19 / 0.25, 0.19 / 0.25, 0]
    np.testing.assert_allclose(slopes, expected, atol=0.05)


def test_slopes_of_an_output():
    problem = Problem.of(
        build(lambda emit, x: [relu(emit, conv(emit, x, "a", out=8), "r")]), images(), "int8", "unsigned"
    )
    (bias,) = (i for i, node in enumerate(problem.net.nodes) if node.op == "bias_add")
    slopes = ActivationSlopes(problem.executor, problem.net, bias)
    np.testing.assert_allclose(slopes(np.float32([-2, -1, 1, 2])), [0, 0, 1, 1], atol=1e-3)
    np.testing.assert_array_equal(slopes(np.float32([3, 3])), [1, 1])


def test_rounding_weights():
    mod = build(network)
    annotated = MinMaxCalibrate(images())(mod)
    refinement = RoundWeights(mod, images())
    rounded = refinement(annotated)
    assert pairs(rounded) == pairs(annotated)
    changed = []
    for name, row in zip(("a", "bb", "c", "d"), refinement.record, strict=False):
        before, after = (bindings(m)[f"{name}_weight_dq"].args for m in (annotated, rounded))
        np.testing.assert_array_equal(np.float32(row.weight_scales), after[1].value.numpy())
        assert row.cosine_after > 0.99
        before, after = (w[0].value.numpy().astype(int) for w in (before, after))
        assert np.abs(after).max() <= 63
        changed.append((before != after).any())
    assert sum(changed) >= 3


@pytest.mark.parametrize("refine", [round_weights, even_rows])
@pytest.mark.parametrize("scheme", ["int6", "int7", "int8"])
def test_convolution_along_rows_multiplies_all_weights_of_7_bits_as_they_are(scheme, refine):
    """Where it is for the layer at all: of stride 1, in one group, reading bytes of 7 bits as the image is none."""
    weight = 2 + random(8, 8, 3, 3, seed=1)  # sums of three are large

    def make(emit, x):
        a = relu(emit, conv(emit, x, "image", weight=2 + random(8, 3, 3, 3)), "ra")
        b = relu(emit, conv(emit, a, "bb", weight=weight), "rb")
        c = relu(emit, conv(emit, b, "strided", weight=weight, strides=(1, 2)), "rc")
        d = relu(emit, conv(emit, c, "grouped", weight=weight[:, :4], groups=2), "rd")
        return [conv(emit, d, "high", weight=weight, strides=(2, 1))]

    mod = build(make)
    found = bindings(MinMaxCalibrate(images(), scheme=scheme, refine=refine)(mod))
    names = ("image", "bb", "strided", "grouped", "high")
    weights = {name: found[f"{name}_weight_dq"].args[0].value.numpy() for name in names}
    appended = {name: len(transformed_weights(each).appended) for name, each in weights.items()}
    shifts = {name: transformed_weights(each).shift.tolist() for name, each in weights.items()}
    if scheme == "int6":
        assert not any(appended.values())
    else:
        fits = {"bb", "high"} if scheme == "int7" else set()
        assert {name for name, count in appended.items() if not count} == fits
        assert {name for name, each in shifts.items() if 0 in each} == fits


def test_rounding_weights_leaves_less_of_the_error():
    """On the average of some sets of images: in a network so small, one of them says little."""
    mod, left = build(network), []
    for seed in range(7, 11):
        annotated = MinMaxCalibrate(images(seed=seed))(mod)
        rounded = RoundWeights(mod, images(seed=seed))(annotated)
        left.append(errors(mod, rounded, seed).mean() / errors(mod, annotated, seed).mean())
    assert np.mean(left) < 0.6


def test_images_count_alike_however_large_they_are():
    mod = build(network)
    large = images()["x"].copy()
    large[0] *= 30
    rounded = [RoundWeights(mod, {"x": x})(MinMaxCalibrate({"x": large})(mod)) for x in (large, large[1:])]
    first, second = (bindings(r)["bb_weight_dq"].args[0].value.numpy().astype(int) for r in rounded)
    assert (first == second).mean() > 0.9


def test_equalization_keeps_the_float_network():
    mod = build(network)
    equalized = EqualizeChannels(images())(mod)
    np.testing.assert_allclose(outputs(equalized), outputs(mod), rtol=1e-4, atol=1e-4)


def test_equalization_before_a_depthwise_layer():
    """Its channels get nearer to the same magnitude: that costs nothing."""
    weight = random(6, 3, 3, 3) * np.float32([1, 0.1, 10, 2, 0.5, 0]).reshape(-1, 1, 1, 1)

    def make(emit, x):
        a = relu(emit, conv(emit, x, "a", weight=weight, bias=False), "ra")
        b = relu(emit, conv(emit, x, "e", weight=weight, bias=False), "re")
        return [a, conv(emit, a, "c"), conv(emit, b, "bb", weight=random(12, 1, 3, 3), groups=6)]

    mod = build(make)
    equalize = EqualizeChannels(images())
    equalized = equalize(mod)
    assert [(r["layer"], r["exponent"]) for r in equalize.record] == [("re", 0.75)]  # "ra" is an output, too
    np.testing.assert_allclose(outputs(equalized), outputs(mod), rtol=1e-4, atol=1e-4)
    before, after = (errors(m, MinMaxCalibrate(images())(m)).mean(axis=(0, 1, 3, 4)) for m in (mod, equalized))
    assert (after[2:4] < 0.1 * before[2:4]).all()  # the channel with the smallest range


def test_equalization_of_a_stage_with_residuals():
    """All that additions couple has the same factors, into a dense layer behind."""
    weight = random(6, 3, 3, 3) * np.float32([1, 0.1, 10, 2, 0.5, 0.2]).reshape(-1, 1, 1, 1)

    def make(emit, x):
        a = conv(emit, x, "a", weight=weight)
        inner = relu(emit, conv(emit, a, "bb", out=6), "rb")
        b = conv(emit, inner, "c", weight=random(6, 6, 3, 3, seed=4) * weight[:, :1])
        total = emit(relax.op.add(b, a), "total")
        flat = emit(relax.op.reshape(relu(emit, total, "r"), (1, 6 * 64)), "flat")
        return [emit(relax.op.matmul(flat, relax.const(random(6 * 64, 5))), "fc")]

    mod = build(make)
    equalize = EqualizeChannels(images())
    equalized = equalize(mod)
    assert any(row["layer"].startswith("a") and row["exponent"] > 0 for row in equalize.record)
    np.testing.assert_allclose(outputs(equalized), outputs(mod), rtol=1e-4, atol=0.2)  # of up to 65834
    before, after = (errors(m, MinMaxCalibrate(images())(m)).mean() for m in (mod, equalized))
    assert after < before


def test_equalization_through_a_concatenation():
    def make(emit, x):
        a = relu(emit, conv(emit, x, "a", weight=random(4, 3, 3, 3) * np.float32(0.1)), "ra")
        b = relu(emit, conv(emit, x, "bb", weight=random(4, 3, 3, 3) * 5), "rb")
        both = emit(relax.op.concat([a, b], axis=1), "both")
        return [conv(emit, emit(relax.op.nn.max_pool2d(both, (2, 2), (2, 2)), "pool"), "c")]

    mod = build(make)
    equalized = EqualizeChannels(images())(mod)
    np.testing.assert_allclose(outputs(equalized), outputs(mod), rtol=1e-4, atol=1e-3)


def test_equalization_leaves_room_where_images_go_further():
    """A channel whose magnitudes the first images do not show must not be brought to the end of the range."""
    weight = random(6, 3, 3, 3) * np.float32([1, 1, 1, 0.2, 0.2, 0.2]).reshape(-1, 1, 1, 1)

    def make(emit, x):
        a = emit(relax.op.clip(conv(emit, x, "a", weight=weight), 0, 6), "ra")
        return [conv(emit, a, "bb", weight=random(6, 1, 3, 3), groups=6)]

    mod = build(make)
    few, many = {"x": images()["x"][:6]}, {"x": images(200, seed=9)["x"]}
    steady = {"x": np.repeat(few["x"][:1], 6, axis=0)}  # nothing says that there is more than this
    lost = []
    for calibration in (few, steady):
        equalize = EqualizeChannels(calibration, scheme="int8")
        equalized = equalize(mod)
        annotated = MinMaxCalibrate(calibration, scheme="int8")(equalized)
        ((expected, y),) = [pair for (pair,) in compare_outputs(equalized, annotated, [many], scheme="int8")]
        lost.append(np.square(y - expected).mean())
        assert (equalize.record[0]["margin"] > 0) == (calibration is few)
    assert lost[0] < 0.5 * lost[1]
