"""All scales together, by the network's loss."""

import numpy as np
import pytest
from small_networks import LAYERS, build, conv, network, random, relu
from tvm import relax

from eq_tvm.passes import LAPQCalibrate, MSECalibrate, compare_outputs, round_weights
from eq_tvm.passes.joint.clips import Clips
from eq_tvm.passes.joint.descent import Descent, can_descend
from eq_tvm.passes.joint.trials import Trials
from eq_tvm.passes.quantized import parallel, quantizers
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.quantizers import Range
from eq_tvm.passes.quantized.simulation import Simulation

IMAGES = {"x": random(20, 3, 8, 8, seed=7)}
UNSEEN = {"x": random(60, 3, 8, 8, seed=8)}


def _problem(make=network, scheme="int4"):
    problem = Problem.of(build(make), IMAGES, scheme, "unsigned")
    return problem, MSECalibrate(IMAGES, scheme=scheme).find_scales(problem).scales


def _loss(module, annotated, scheme="int4"):
    ((expected, result),) = next(compare_outputs(module, annotated, [UNSEEN], scheme=scheme))
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (expected, result))
    return 1 - float(np.mean((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))))


def _branches(emit, x):
    """Two outputs, one of which is read on; a concatenation; an input that float operators read, too."""
    a = relu(emit, conv(emit, x, "a"), "ra")
    both = emit(relax.op.concat([a, relu(emit, conv(emit, a, "b"), "rb")], 1), "both")
    beside = emit(relax.op.nn.softmax(x, axis=1), "beside")
    return [both, relu(emit, conv(emit, both, "c"), "rc"), beside]


@pytest.mark.parametrize("make", [network, _branches])
def test_trials_are_what_the_simulation_computes(make):
    """From whichever node on, with each scale changed."""
    problem, scales = _problem(make)
    trials, clips = Trials(problem, scales), Clips(problem, scales)
    for k in range(len(clips.clips)):
        way = np.eye(len(clips.clips))[k]
        trials.begin(clips.first(way), clips.scales(0 * way))
        changed = clips.scales(0.3 * way)
        found = trials.loss(changed)
        sim = Simulation(problem, changed)
        for _ in sim.walk():
            pass
        results = [result for i in problem.net.outputs for _, result in sim.outputs[i]]
        assert found == trials.divergence(results)
        assert found == trials.loss(changed), "trials leave what is there as it was"


def test_what_matters_last_is_tried_first():
    problem, scales = _problem()
    firsts = [clip.first for clip in Clips(problem, scales).clips]
    assert firsts == sorted(firsts, reverse=True) and len(firsts) == len(scales.activations) + len(scales.weights)


@pytest.mark.parametrize("search", ["powell", "gradients"])
def test_loses_less_than_each_tensors_best(search):
    module = build(network)
    how = {"scheme": "int4", "correct_bias": False}
    by_tensors = MSECalibrate(IMAGES, scheme="int4")(module)
    started = LAPQCalibrate(IMAGES, iterations=0, **how)(module)
    searched = LAPQCalibrate(IMAGES, search=search, **how)(module)
    assert _loss(module, started) <= 1.05 * _loss(module, by_tensors)
    assert _loss(module, searched) < 0.9 * _loss(module, started)


def test_the_norm_of_2_is_mse():
    module = build(network)
    calibration = LAPQCalibrate(IMAGES, norms=[2], iterations=0, correct_bias=False, scheme="int4")
    problem, expected = _problem()
    found = calibration.find_scales(problem).scales
    np.testing.assert_array_equal(found.activations, expected.activations)
    assert all((found.weights[i] == expected.weights[i]).all() for i in expected.weights)
    assert calibration(module)
    assert [layer.layer for layer in calibration.record] == [name for name in LAYERS if name not in ("add", "mean")]


def test_biases_are_corrected_where_no_refinement_follows():
    problem, _ = _problem()
    how = {"iterations": 0, "scheme": "int4"}
    assert LAPQCalibrate(IMAGES, **how).find_scales(problem).scales.constants
    assert not LAPQCalibrate(IMAGES, **how, refine=round_weights).find_scales(problem).scales.constants


@pytest.mark.parametrize("search", ["powell", "gradients"])
def test_the_same_bits_twice_and_by_one_thread(search, monkeypatch):
    problem, _ = _problem()
    calibration = LAPQCalibrate(IMAGES, search=search, scheme="int4", norms=[2, 3], iterations=1)
    first = calibration.find_scales(problem).scales
    monkeypatch.setattr(parallel, "iterate_threads", map)
    second = calibration.find_scales(problem).scales
    np.testing.assert_array_equal(first.activations, second.activations)
    for i, values in (first.weights | first.constants).items():
        np.testing.assert_array_equal(values, (second.weights | second.constants)[i])


def test_gradients_are_those_of_the_loss(monkeypatch):
    """In steps so fine that next to nothing is lost, a clip changes the loss as its gradient says."""
    monkeypatch.setitem(quantizers.WEIGHT_LIMITS, "int8", 2**16)
    monkeypatch.setattr(quantizers, "_BIAS_LIMIT", 2.0**60)
    problem, scales = _problem(scheme="int8")
    scales.activations *= np.array([range_.hi / 2**16 for range_ in scales.ranges], np.float32)
    scales.ranges[:] = [Range("int32", -(2**16) if range_.lo else 0, 2**16) for range_ in scales.ranges]
    clips = Clips(problem, scales)
    descent = Descent(problem, clips, Trials(problem, scales).divergence, 1)

    def loss(place):
        results, _ = descent.function.traced(problem.inputs, descent.constants(clips.scales(place))[0])
        return descent.divergence([results[i] for i in problem.net.outputs])

    place = np.array([-0.4 if clip.group is None else -1.5 for clip in clips.clips])  # all tensors are clipped
    found = descent.gradient(place, np.arange(problem.count)) / problem.count
    learned = [k for k, clip in enumerate(clips.clips) if clip.group is None or clip.first > 1]  # not of pixels
    for k in learned:
        way = 0.003 * np.eye(len(place))[k]
        assert found[k] == pytest.approx((loss(place + way) - loss(place - way)) / 0.006, rel=0.1, abs=5e-4)
    assert (np.abs(found[learned]) > 2e-3).sum() >= 6 and not np.delete(found, learned).any()


def test_what_has_no_gradient_is_searched_by_powell():
    problem, _ = _problem(_branches)
    assert not can_descend(problem) and can_descend(_problem()[0])
    calibration = LAPQCalibrate(IMAGES, search="gradients", scheme="int4", norms=[2], iterations=1)
    start = LAPQCalibrate(IMAGES, scheme="int4", norms=[2], iterations=0, correct_bias=False)
    found, before = (each.find_scales(problem).scales for each in (calibration, start))
    assert (found.activations != before.activations).any()


def test_one_image_is_enough():
    images = {"x": IMAGES["x"][:1]}
    assert LAPQCalibrate(images, scheme="int4", iterations=1, norms=[2])(build(network))


@pytest.mark.parametrize("wrong", [{"norms": []}, {"norms": [0.5]}, {"iterations": -1}])
def test_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="LAPQ needs"):
        LAPQCalibrate(IMAGES, **wrong)
