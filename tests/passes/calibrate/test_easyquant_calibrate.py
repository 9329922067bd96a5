"""EasyQuant on small networks made by hand, and on a real one."""

from pathlib import Path

import numpy as np
import pytest
import tvm
from small_networks import bindings, build, conv, pairs, random, relu, run, run_all
from tvm import relax

from eq_tvm.passes import EASYQUANT_SHIPPED, Candidates, EasyQuantCalibrate, KLCalibrate, MinMaxCalibrate
from eq_tvm.passes.quantized.closeness import mean_cosine

SHARED = Path(__file__).parents[3] / "shared" / "data"


def images(mod, count=6, seed=7):
    shape = [int(d) for d in mod["main"].params[0].ty.shape]
    return {"x": random(count, *shape[1:], seed=seed)}


def residual(emit, x):
    a = relu(emit, conv(emit, x, "a", out=8), "ra")
    depthwise = conv(emit, a, "bb", weight=random(8, 1, 3, 3, seed=3), groups=8)
    b = emit(relax.op.clip(depthwise, 0, 6), "rb")
    c = relu(emit, emit(relax.op.add(conv(emit, b, "c", out=8), a), "add"), "rc")
    flat = emit(relax.op.reshape(emit(relax.op.mean(c, [2, 3], keepdims=True), "mean"), (1, 8)), "flat")
    return [emit(relax.op.matmul(flat, relax.const(random(8, 5))), "fc")]


def test_keeps_the_structure_of_minmax():
    mod = build(residual)
    found = pairs(EasyQuantCalibrate(images(mod))(mod))
    expected = pairs(MinMaxCalibrate(images(mod))(mod))
    assert {k: v[:3] for k, v in found.items()} == {k: v[:3] for k, v in expected.items()}
    for name, (*_, scale) in found.items():
        assert 0.499 < scale / expected[name][3] < 2.001


def test_record_and_cosines():
    mod = build(residual)
    calibration = EasyQuantCalibrate(images(mod))
    annotated = calibration(mod)
    assert [layer.layer for layer in calibration.record] == ["a", "bb", "c", "fc"]
    values = bindings(annotated)
    for layer in calibration.record:
        scales = values[f"{layer.layer}_weight_dq"].args[1].value.numpy()
        np.testing.assert_array_equal(np.float32(layer.weight_scales), scales)
        assert len(layer.weight_scales_initial) == len(scales)
        assert layer.cosine_after > 0.99
    assert np.mean([r.cosine_after - r.cosine_before for r in calibration.record]) > 0
    assert np.float32(calibration.record[0].input_scale) == np.float32(pairs(annotated)["x"][3])


def test_compiled_module_is_what_the_search_saw():
    """The record's cosine of the last layer is that of the annotated module's output."""
    mod = build(residual)
    data = images(mod)
    calibration = EasyQuantCalibrate(data)
    annotated = calibration(mod)
    annotated, reference = (np.concatenate(run_all(m, data["x"])) for m in (annotated, mod))
    assert mean_cosine(annotated, reference) == pytest.approx(calibration.record[-1].cosine_after, abs=1e-5)


def test_same_result_twice():
    mod = build(residual)
    results = [EasyQuantCalibrate(images(mod))(mod) for _ in range(2)]
    tvm.ir.assert_structural_equal(*results)


def test_rounds_never_make_it_worse():
    mod = build(residual)
    means = []
    for rounds in (1, 3):
        calibration = EasyQuantCalibrate(images(mod), rounds=rounds, tolerance=0)
        calibration(mod)
        means.append(np.mean([r.cosine_after for r in calibration.record]))
    assert means[1] >= means[0]


def test_one_candidate_is_minmax():
    mod = build(residual)
    one = Candidates(count=1)
    found = EasyQuantCalibrate(images(mod), weights=one, activations=one)(mod)
    tvm.ir.assert_structural_equal(found, MinMaxCalibrate(images(mod))(mod))


def test_dead_channels_and_zero_images():
    weight = random(4, 3, 3, 3)
    weight[1] = 0
    weight[2] *= 1e-25
    mod = build(lambda emit, x: [relu(emit, conv(emit, relu(emit, conv(emit, x, "a", weight=weight), "r"), "bb"), "s")])
    for data in (np.zeros((2, 3, 8, 8), np.float32), random(2, 3, 8, 8)):
        calibration = EasyQuantCalibrate({"x": data})
        annotated = calibration(mod)
        for layer in calibration.record:
            assert np.isfinite([*layer.weight_scales, layer.input_scale, layer.cosine_after]).all()
            assert min(layer.weight_scales) > 0
        actual, expected = run(annotated, data[:1]), run(mod, data[:1])
        np.testing.assert_allclose(actual, expected, atol=0.05 * np.abs(expected).max())


def test_group_that_depends_on_itself():
    """The second part of a concatenation is made from the first, which has the same scale."""

    def make(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        b = relu(emit, conv(emit, a, "bb"), "rb")
        both = emit(relax.op.concat([a, b], axis=1), "concat")
        pooled = emit(relax.op.nn.max_pool2d(both, (2, 2), (2, 2)), "pool")
        return [conv(emit, pooled, "c"), emit(relax.op.mean(both, [2, 3], keepdims=True), "mean")]

    mod = build(make)
    calibration = EasyQuantCalibrate(images(mod))
    found = pairs(calibration(mod))
    assert found["ra"] == found["rb"]
    assert min(r.cosine_after for r in calibration.record) > 0.995


def test_group_one_of_which_is_made_of_another():
    """Of a concatenation, both a layer and the relu behind it."""

    def make(emit, x):
        a = conv(emit, x, "a")
        joined = emit(relax.op.concat([relu(emit, a, "ra"), a], 2), "joined")
        return [conv(emit, joined, "bb")]

    calibration = EasyQuantCalibrate({"x": random(3, 3, 8, 8)})
    found = pairs(calibration(build(make)))
    assert found["ra"] == found["a_sum"]
    assert min(r.cosine_after for r in calibration.record) > 0.995


def test_float_island_and_output_of_an_addition():
    def make(emit, x):
        a = conv(emit, x, "a")
        s = emit(relax.op.sigmoid(a), "s")
        c = conv(emit, s, "bb")
        return [
            emit(relax.op.add(c, a), "add"),
            emit(relax.op.nn.softmax(emit(relax.op.reshape(a, (1, 256)), "flat")), "p"),
        ]

    mod = build(make)
    annotated = EasyQuantCalibrate(images(mod))(mod)
    assert {k: v[:3] for k, v in pairs(annotated).items()} == {
        "x": ("int8", -127, 127),
        "a_sum": ("int8", -63, 63),
        "s": ("int8", 0, 127),
    }
    x = random(1, 3, 8, 8, seed=3)
    for actual, expected in zip(run(annotated, x), run(mod, x), strict=True):
        assert np.abs(actual - expected).mean() < 0.01 * np.abs(expected).max()


def test_progress():
    mod = build(residual)
    seen = []
    few = {"weights": Candidates(count=5), "activations": Candidates(count=5)}
    EasyQuantCalibrate(images(mod, 2), **few, progress=lambda done, message: seen.append((done, message)))(mod)
    done = [d for d, _ in seen]
    assert done == sorted(done) and done[-1] == 1.0 and any("weight scales: bb" in message for _, message in seen)


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"beta": 0.5}, {"count": 0}])
def test_candidates_out_of_range(options):
    with pytest.raises(ValueError, match="EasyQuant needs"):
        Candidates(**options)


@pytest.mark.parametrize("options", [{"rounds": 0}, {"start": "mse"}, {"objective": "behind"}])
def test_parameters_out_of_range(options):
    with pytest.raises(ValueError, match="EasyQuant needs"):
        EasyQuantCalibrate({}, **options)


def test_shipped_only_makes_scales_of_weights_coarser():
    mod = build(residual)
    calibration = EasyQuantCalibrate(images(mod), **EASYQUANT_SHIPPED)
    calibration(mod)
    for layer in calibration.record:
        initial, final = (np.array(getattr(layer, f"weight_scales{when}")) for when in ("_initial", ""))
        assert (final >= initial * 0.9999).all()
        assert 0.9999 < layer.input_scale / layer.input_scale_initial < 1.2501
    # KL starts elsewhere than the largest magnitudes
    assert pairs(KLCalibrate(images(mod))(mod))["ra"][3] == np.float32(calibration.record[1].input_scale_initial)


def test_objective_behind_the_activation_function():
    """What a relu removes does not count behind it: there the search may let it saturate."""
    weight = np.zeros((1, 3, 3, 3), np.float32)
    weight[0, :, 1, 1] = 1, -0.01, -0.01

    def make(emit, x):
        return [relu(emit, conv(emit, relu(emit, conv(emit, x, "a", out=3), "r"), "bb", weight=weight), "s")]

    mod = build(make)
    cosines = {}
    for objective in ("before", "after"):
        calibration = EasyQuantCalibrate(images(mod), objective=objective)
        annotated = np.concatenate(run_all(calibration(mod), images(mod)["x"]))
        cosines[objective] = mean_cosine(annotated, np.concatenate(run_all(mod, images(mod)["x"])))
    assert cosines["after"] >= cosines["before"]
    assert cosines["after"] > 0.999


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")
def test_improves_on_minmax_in_a_real_network():
    from eq_tvm.importer import import_onnx
    from eq_tvm.passes import canonical_passes

    mod = tvm.transform.Sequential(canonical_passes())(import_onnx(SHARED / "models" / "resnet20_cifar10.onnx"))
    pixels = np.load(SHARED / "cifar10" / "calib.npz")["images"][:8].transpose(0, 3, 1, 2).astype(np.float32)
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    calibration = EasyQuantCalibrate({mod["main"].params[0].name: (pixels - mean) / std})
    calibration(mod)
    before, after = (np.array([r[f"cosine_{when}"] for r in calibration.record]) for when in ("before", "after"))
    assert len(after) == 20
    assert after.mean() > before.mean() + 2e-4
    assert after.min() > 0.99
