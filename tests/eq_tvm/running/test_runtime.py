"""Loading and running bundles."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from tiny import SHAPE, write_tiny
from tvm import relax

import eq_tvm
from eq_tvm import host
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs.checked import check_inputs
from eq_tvm.running import runtime

X = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)


def test_run(tiny):
    model = eq_tvm.load(tiny)
    for array in (X, X[0], {"x": X}):
        outputs = model.run(array)
        assert list(outputs) == ["mean", "y"]
        np.testing.assert_array_equal(outputs["y"], np.maximum(-X, 0))
        np.testing.assert_allclose(outputs["mean"], np.maximum(-X, 0).mean((2, 3)), rtol=1e-6)


def test_run_on_pixels(tiny):
    image = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    y = eq_tvm.load(tiny.path).run(image)["y"]
    np.testing.assert_allclose(y[0], np.maximum((100.0 - image) / 10, 0).transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": X}, "the network's inputs are x, not z"),
        ({}, "the network's inputs are x, not none"),
        (X[:, :, :5], r"input x becomes an input of shape \(1, 3, 5, 4\), but the network takes \(1, 3, 6, 4\)"),
        (X.astype(np.complex64), "input x is complex64, but the network takes float32"),
        (X * np.float32(np.inf), "input x contains NaN or infinity"),
        ([[1, 2], [3, 4]], r"input x becomes an input of shape \(2, 2\), but the network takes"),
    ],
)
def test_wrong_inputs(tiny, inputs, message):
    with pytest.raises(UserError, match=message):
        eq_tvm.load(tiny).run(inputs)


class Tensor:
    """As those of other packages, which NumPy asks for an array."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.array, Exception):
            raise self.array
        return self.array


def nested(depth):
    result = 1.0
    for _ in range(depth):
        result = [result]
    return result


SAME = {
    "column by column": np.asfortranarray(X),
    "steps backwards": np.ascontiguousarray(X[..., ::-1])[..., ::-1],
    "of a larger one": np.repeat(X, 3, axis=2)[:, :, ::3],
    "other bytes first": X.astype(">f4"),
    "twice the bits": X.astype("float64"),
    "a list": X.tolist(),
    "a tensor of others": Tensor(X),
    "a subclass": X.view(np.recarray),
    "nothing masked": np.ma.masked_array(X),
}
HUGE = 1 << 20  # in both directions: 3 TB as float32
REFUSED = {
    "objects": (X.astype(object), "is object"),
    "None": (None, "is object"),
    "text": ("cat.jpg", "is <U7"),
    "records": (np.zeros(SHAPE, [("a", "f4")]), "takes numbers"),
    "times": (np.zeros(SHAPE, "M8[s]"), "takes numbers"),
    "raw": (np.zeros(SHAPE, "V4"), "takes numbers"),
    "ragged": ([[1, 2], [3]], "can't become an array"),
    "deep": (nested(5000), "can't become an array"),
    "on another device": (Tensor(RuntimeError("use .cpu() first")), "can't become an array: use .cpu"),
    "masked": (np.ma.masked_array(X, X > 0), "has masked elements"),
    "a number": (np.float32(3), r"of shape \(\)"),
    "empty": (np.zeros(0, "float32"), r"of shape \(0,\)"),
    "none of it": (np.zeros((0, *SHAPE[1:]), "float32"), r"of shape \(0, 3, 6, 4\)"),
    "huge": (np.broadcast_to(np.float32(0), (1, 3, HUGE, HUGE)), f"of shape .*{HUGE}"),
    "huge batch": (np.broadcast_to(np.float32(0), (HUGE, *SHAPE[1:])), f"of shape .*{HUGE}"),
    "huge image": (np.broadcast_to(np.uint8(0), (HUGE, HUGE, 3)), f"of shape .*{HUGE}"),
    "empty image": (np.zeros((0, 0, 3), "uint8"), "of shape"),
    "not in float32": (np.full(SHAPE, 1e300), "can't hold"),
    "nan": (np.full(SHAPE, np.nan), "contains NaN"),
}


@pytest.mark.parametrize("form", SAME)
def test_arrays_of_any_form(tiny, form):
    if isinstance(SAME[form], np.ndarray):
        SAME[form].flags.writeable = False
    np.testing.assert_array_equal(eq_tvm.load(tiny).run(SAME[form])["y"], np.maximum(-X, 0))


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_input(tiny, form):
    value, message = REFUSED[form]
    model = eq_tvm.load(tiny)
    for inputs in (value, {"x": value}):
        with pytest.raises(UserError, match=f"input x.*{message}"):
            model.run(inputs)
    for call in (model.call, lambda arrays: model.measure(arrays, 0.01)):
        with pytest.raises(UserError, match=r"input x (.*takes float32 \(1, 3, 6, 4\)|.*takes numbers|c|has masked)"):
            call([value])


def test_call_takes_the_arrays_themselves(tiny):
    model = eq_tvm.load(tiny)
    for form in ("column by column", "steps backwards", "of a larger one", "other bytes first"):
        np.testing.assert_array_equal(model.call([SAME[form]])[1], np.maximum(-X, 0))
    for arrays in ([], [X, X], X, None, {"x": X}):
        with pytest.raises(UserError, match="takes a list of 1 arrays"):
            model.call(arrays)
    for array in (X[0], X.astype("float64"), X.reshape(-1), np.zeros((1, 3, 6, 5), "float32")):
        with pytest.raises(UserError, match=r"but the network takes float32 \(1, 3, 6, 4\)"):
            model.call([array])
    with pytest.raises(UserError, match="the network's inputs are x, not 1, y"):
        model.run({1: X, "y": X})


@given(
    shape=array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=8),
    dtype=st.sampled_from(["float16", "float32", "float64", "uint8", "int8", "int64", "bool", ">f4", "complex64"]),
)
def test_any_array_is_an_input_or_refused(shape, dtype):
    info = TensorInfo("x", (2, 3, 4), "float32")
    array = np.ones(shape, dtype)
    try:
        (taken,) = check_inputs(array, (info,), None)
    except UserError:
        assert shape != info.shape or dtype == "complex64"
    else:
        assert taken.shape == info.shape and taken.dtype == np.float32 and taken.dtype.isnative
        np.testing.assert_array_equal(taken, 1)


def multiplier(factor):
    """An executable that multiplies by a number."""
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        y = builder.emit(relax.op.multiply(x, relax.const(factor, "float32")))
        builder.emit_func_output(relax.Tuple([y, y]))
    return tvm.compile(builder.get(), target=tvm.target.Target("llvm"))


def test_what_is_written_again_is_loaded_anew(tmp_path):
    loaded = []
    for factor in (2, 3):
        write_tiny(tmp_path / "b", multiplier(factor))
        loaded.append(eq_tvm.load(tmp_path / "b"))
    for factor, model in zip((2, 3), loaded, strict=True):
        np.testing.assert_array_equal(model.run(X)["y"], factor * X)
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_only_read(tiny):
    tiny.path.chmod(0o555)
    try:
        assert list(eq_tvm.load(tiny.path).run(X)) == ["mean", "y"]
    finally:
        tiny.path.chmod(0o755)


def test_a_system_that_is_only_read(tiny, monkeypatch):
    def refuse(**_):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(runtime.tempfile, "TemporaryDirectory", refuse)
    assert list(eq_tvm.load(tiny.path).run(X)) == ["mean", "y"]


def test_threads_take_turns(tiny):
    model = eq_tvm.load(tiny)
    images = [X * k for k in range(8)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda x: [model.run(x)["y"] for _ in range(40)], images))
    for x, runs in zip(images, results, strict=True):
        for y in runs:
            np.testing.assert_array_equal(y, np.maximum(-x, 0))


def test_a_bundle_for_another_architecture(tmp_path, tiny_executable):
    foreign = "x86" if host.platform.machine() == "aarch64" else "rpi4"
    bundle = write_tiny(tmp_path / "foreign.eqtvm", tiny_executable, foreign)
    with pytest.raises(UserError, match=f"is for {foreign} .*, this machine is .*: copy it to such a machine"):
        eq_tvm.load(bundle.path)


def test_a_bundle_for_a_better_processor(tiny, monkeypatch):
    monkeypatch.setattr(host, "cpu_features", lambda: {"fma"})
    assert tiny.target["instructions"]
    if host.platform.machine() == "x86_64":
        with pytest.raises(UserError, match=r"this processor lacks .*avx.*: compile it for --target native"):
            eq_tvm.load(tiny)


def test_commands_load_no_compiler(tiny, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((1, 6, 4, 3), np.uint8))
    script = """
from eq_tvm.cli import main
for arguments in ("run {} --input x.npz", "bench {} --seconds 0.01", "evaluate {} --data x.npz"):
    assert main(arguments.format("tiny.eqtvm").split()) == 0, arguments
maps = open("/proc/self/maps").read()
assert "libtvm_runtime" in maps and "libtvm_compiler" not in maps
"""
    environment = {name: value for name, value in os.environ.items() if name != "TVM_USE_RUNTIME_LIB"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
