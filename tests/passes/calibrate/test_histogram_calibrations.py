"""Percentile, KL and MSE: the thresholds they choose, and that they end up in the module."""

import numpy as np
import pytest
from small_networks import bindings, build, conv, pairs, random, relu
from tvm import relax

from eq_tvm.passes import KLCalibrate, MinMaxCalibrate, MSECalibrate, PercentileCalibrate
from eq_tvm.passes.calibrate.tensor_statistics import Histogram
from eq_tvm.passes.quantized.quantizers import Range

INT7, INT8 = Range("int8", 0, 127), Range("uint8", 0, 255)


def histogram(*parts):
    result = Histogram()
    for part in parts:
        result.update(part.astype(np.float32), float(part.min()), float(part.max()))
    return result


def threshold(method, values, range_=INT7, **options):
    return method({}, **options).threshold(histogram(*np.array_split(values, 3)), range_)


@pytest.mark.parametrize("percentile", [50, 90, 99.9, 100])
def test_percentile_is_numpys(percentile):
    values = np.maximum(np.random.default_rng(1).standard_normal(100_000), -0.5)
    found = threshold(PercentileCalibrate, values, percentile=percentile)
    assert found == pytest.approx(np.percentile(np.abs(values), percentile), rel=2e-3)


@pytest.mark.parametrize("percentile", [0, 100.1])
def test_percentile_out_of_range(percentile):
    with pytest.raises(ValueError, match="percentile"):
        PercentileCalibrate({}, percentile=percentile)


@pytest.mark.parametrize("range_", [INT7, INT8, Range("int8", -63, 63), Range("int16", -16, 239)])
def test_mse_is_that_of_quantizing(range_):
    values = np.abs(np.random.default_rng(2).laplace(size=50_000))
    if range_.lo < 0:
        values[::2] /= -16

    def error(threshold):
        scale = threshold / range_.hi
        return np.sum((np.clip(np.rint(values / scale), range_.lo, range_.hi) * scale - values) ** 2)

    found = threshold(MSECalibrate, values, range_)
    assert error(found) <= 1.005 * min(error(values.max() * f) for f in np.linspace(1, 0.1, 91))
    assert found < values.max()


def test_kl_clips_outliers_and_keeps_what_is_even():
    rng = np.random.default_rng(3)
    even = rng.uniform(0, 1, 50_000)
    assert threshold(KLCalibrate, even) > 0.98
    with_outlier = np.append(even, 20.0)
    assert 0.9 < threshold(KLCalibrate, with_outlier) < 2
    # where there are few levels, tails are clipped
    tails = np.abs(rng.laplace(size=1_000_000))
    few, many = (threshold(KLCalibrate, tails, range_) for range_ in (Range("int8", -15, 15), INT8))
    assert few < 0.9 * many and many <= tails.max()


def test_kl_of_few_bins_keeps_everything():
    values = np.repeat([1.0, 2.0, 1e-3], 10)
    few = Histogram(64)
    few.update(values.astype(np.float32), 1e-3, 2.0)
    assert KLCalibrate({}).threshold(few, INT7) == 2.0


@pytest.mark.parametrize("method", [PercentileCalibrate, KLCalibrate, MSECalibrate])
def test_zeros_get_a_finite_scale(method):
    assert method({}).threshold(histogram(np.zeros(9)), INT7) == 0
    mod = build(lambda emit, x: [conv(emit, relu(emit, conv(emit, x, "a"), "r"), "bb")])
    found = pairs(method({"x": np.zeros((2, 3, 8, 8), np.float32)})(mod))
    assert found["x"][3] == np.float32(1 / 127) and 0 < found["r"][3] < np.inf


@pytest.mark.parametrize("method", [PercentileCalibrate, KLCalibrate, MSECalibrate])
@pytest.mark.parametrize("scheme", ["int7", "int8"])
def test_module(method, scheme):
    def make(emit, x):
        r = relu(emit, conv(emit, x, "a", out=8), "r")
        mean = emit(relax.op.mean(conv(emit, r, "bb", out=8), [2, 3]), "mean")
        return [emit(relax.op.matmul(mean, relax.const(random(8, 5))), "fc")]

    mod = build(make)
    images = {"x": random(9, 3, 8, 8, seed=7)}
    calibration = method(images, scheme=scheme)
    annotated = calibration(mod)
    found, expected = pairs(annotated), pairs(MinMaxCalibrate(images, scheme=scheme)(mod))
    assert {k: v[:3] for k, v in found.items()} == {k: v[:3] for k, v in expected.items()}
    assert all(0.1 < found[k][3] / expected[k][3] < 1.001 for k in found)
    assert found["x"][3] < expected["x"][3] or method is not MSECalibrate
    for layer in calibration.record:
        scales = bindings(annotated)[f"{layer.layer}_weight_dq"].args[1].value.numpy()
        np.testing.assert_array_equal(np.float32(layer.weight_scales), scales)
