"""Passes as TVM sees them: names, instruments, states of the module."""

import inspect

import numpy as np
import onnx
import pytest
import tvm
import tvm_ffi
from onnx_models import random, write_model
from tvm import relax
from tvm.ir.instrument import PassTimingInstrument, pass_instrument
from tvm.relax.frontend.onnx import from_onnx

from eq_tvm import passes
from eq_tvm.targets import get_target

NATIVE = get_target("native")
X = random(6, 3, 8, 8, seed=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    nodes = [
        ("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}),
        ("Clip", "c low high", "r", {}),
        ("Conv", "r v", "d", {}),
        ("GlobalAveragePool", "d", "p", {}),
        ("Flatten", "p", "f", {}),
        ("Softmax", "f", "y", {}),
    ]
    weights = {"w": random(8, 3, 3, 3), "b": random(8), "v": random(4, 8, 1, 1)}
    weights |= {"low": np.float32(0), "high": np.float32(6)}
    return onnx.load(write_model(tmp_path_factory.mktemp("net") / "n.onnx", nodes, {"x": [1, 3, 8, 8]}, ["y"], weights))


def imported(network, **options):
    return from_onnx(network, shape_dict={"x": [1, 3, 8, 8]}, **({"keep_params_in_input": False} | options))


@pytest.fixture(scope="module")
def states(network):
    """The module in each of its states."""
    mod = imported(network)
    canonical = tvm.transform.Sequential(passes.canonical_passes())(mod)
    annotated = passes.MinMaxCalibrate({"x": X})(canonical)
    integer = passes.LowerToInteger(NATIVE.machine)(annotated)
    return {"imported": mod, "canonical": canonical, "annotated": annotated, "integer": integer}


def results(mod, *flow, instruments=()):
    """Of all images, once TVM has done the rest."""
    flow = [*flow, relax.get_pipeline("zero"), passes.ScheduleFallback()]
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG, instruments=list(instruments)):
        executable = tvm.compile(tvm.transform.Sequential(flow)(mod), target=NATIVE.tvm_target())
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    return np.concatenate([main(tvm.runtime.tensor(x[None])).numpy() for x in X])


def close(a, b):
    return np.abs(a - b).max() < 0.05


def all_passes():
    skipped = ("LayerRecord", "Candidates")
    return [each for name in passes.__all__ if inspect.isclass(each := getattr(passes, name)) and name not in skipped]


@pytest.mark.parametrize("made", all_passes(), ids=lambda made: made.__name__)
def test_names_and_docs(made):
    assert made.__doc__ and issubclass(made, tvm.transform.Pass)
    given = [
        X if "images" in p.name else None
        for p in inspect.signature(made).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    each = made(*({"x": X} if value is X else NATIVE.machine for value in given))
    assert each.info.name == made.__name__
    assert str(each) == repr(each) and repr(each).startswith(f"{made.__name__}(")


def test_printed():
    calibrate = passes.EasyQuantCalibrate({"x": X}, scheme="int8", rounds=2)
    assert repr(calibrate) == "EasyQuantCalibrate(images={'x': <float32 (6, 3, 8, 8)>}, rounds=2, scheme='int8')"
    assert repr(passes.FoldPadding()) == "FoldPadding()"
    assert (
        repr(passes.PercentileCalibrate({}, kept={"a": "float"}))
        == "PercentileCalibrate(images={}, kept={'a': 'float'})"
    )


def test_instruments(network):
    timing = PassTimingInstrument()
    flow = [*passes.canonical_passes(), passes.MinMaxCalibrate({"x": X}), passes.LowerToInteger(NATIVE.machine)]
    with tvm.transform.PassContext(instruments=[timing]):
        tvm.transform.Sequential(flow)(imported(network))
        rendered = timing.render()
    for each in flow:
        assert f"\t{each.info.name}: " in rendered


def test_skipped_passes_leave_a_network_that_is_right(network):
    flow = [*passes.canonical_passes(), passes.MinMaxCalibrate({"x": X}), passes.LowerToInteger(NATIVE.machine)]
    expected = results(imported(network))
    for name in dict.fromkeys(each.info.name for each in flow):

        @pass_instrument
        class Skip:
            def __init__(self, skipped):
                self.skipped = skipped

            def should_run(self, _mod, info):
                return info.name != self.skipped

        try:
            assert close(results(imported(network), *flow, instruments=[Skip(name)]), expected), name
        except ValueError as e:
            assert name == "FoldConstants" and "computes a constant: apply passes.canonical_passes() first" in str(e)


def test_canonical_passes_twice(states):
    again = tvm.transform.Sequential(passes.canonical_passes())(states["canonical"])
    assert tvm_ffi.structural_equal(again, states["canonical"])


@pytest.mark.parametrize("state", ["annotated", "integer"])
def test_canonical_passes_late_change_no_result(states, state):
    lower = [passes.LowerToInteger(NATIVE.machine)]
    again = tvm.transform.Sequential(passes.canonical_passes())(states[state])
    np.testing.assert_array_equal(results(again, *lower), results(states[state], *lower))


def test_lowering_twice(states):
    again = passes.LowerToInteger(NATIVE.machine)(states["integer"])
    np.testing.assert_array_equal(results(again), results(states["integer"]))


CALIBRATE, EQUALIZE = (made({"x": X}) for made in (passes.MSECalibrate, passes.EqualizeChannels))


@pytest.mark.parametrize(
    ("state", "given", "message"),
    [
        ("annotated", CALIBRATE, "has scales already: TakeScales takes over"),
        ("integer", CALIBRATE, "this one calls kernels: LowerToInteger comes last"),
        ("integer", EQUALIZE, "this one calls kernels"),
        ("canonical", passes.MinMaxCalibrate({"z": X}), "images for 'z', but the network's inputs are 'x'"),
        ("canonical", passes.MinMaxCalibrate({"x": X[:, :2]}), r"of shape \(2, 8, 8\) for input 'x' of shape \(1, 3,"),
    ],
)
def test_wrong_states_and_images(states, state, given, message):
    with pytest.raises(ValueError, match=message):
        given(states[state])


def test_weights_as_inputs(network):
    canonical = tvm.transform.Sequential(passes.canonical_passes())(imported(network, keep_params_in_input=True))
    with pytest.raises(ValueError, match="calibration images for 'x', but the network's inputs are 'x', 'w'"):
        CALIBRATE(canonical)


@pytest.mark.parametrize("given", [CALIBRATE, passes.FoldConstants(), passes.LowerToInteger(NATIVE.machine)])
def test_no_main(given):
    with pytest.raises(ValueError, match="has no function main"):
        given(tvm.IRModule({}))


def test_other_functions_stay(states):
    mod = states["canonical"].clone()
    other = mod["main"].with_attr("global_symbol", "other")
    mod[relax.GlobalVar("other")] = other
    for each in (*passes.canonical_passes(), CALIBRATE, passes.LowerToInteger(NATIVE.machine)):
        mod = each(mod)
    assert tvm_ffi.structural_equal(mod["other"], other)


def test_passes_of_tvm_in_between(states):
    flow = [
        relax.transform.FoldConstant(),
        relax.transform.EliminateCommonSubexpr(),
        relax.transform.CanonicalizeBindings(),
        CALIBRATE,
        relax.transform.DeadCodeElimination(),
        relax.transform.EliminateCommonSubexpr(),
        passes.LowerToInteger(NATIVE.machine),
        relax.transform.DeadCodeElimination(),
    ]
    plain = [CALIBRATE, passes.LowerToInteger(NATIVE.machine)]
    np.testing.assert_array_equal(results(states["canonical"], *flow), results(states["canonical"], *plain))
