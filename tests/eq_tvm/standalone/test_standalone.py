"""A standalone library, called as C calls it."""

import _ctypes
import ctypes
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from c_programs import build, run
from onnx import TensorProto, helper
from onnx_models import random, write_model

import eq_tvm
from eq_tvm import standalone
from eq_tvm.errors import UserError
from eq_tvm.importer.converters import CONVERTERS
from eq_tvm.targets import get_target

MAX_THREADS = get_target("native").threads


class Library:
    """A library in this process: `run` takes arrays and returns new ones."""

    def __init__(self, written):
        self.written = written
        self.c = ctypes.CDLL(str(written.library))
        self.c.eq_model_workspace_size.restype = ctypes.c_size_t
        self.size = self.c.eq_model_workspace_size()

    def run(self, *inputs, threads=1, misaligned=0, rng=None):
        inputs = [_moved(array, misaligned) for array in inputs]
        outputs = [_moved(np.full(info.shape, 77, info.dtype), misaligned) for info in self.written.network.outputs]
        guard = 64
        workspace = np.empty(self.size + 64 + 2 * guard, "uint8")
        workspace[:] = (rng or np.random.default_rng(0)).integers(0, 256, workspace.size)
        before = workspace.copy()
        start = guard + (-(workspace.ctypes.data + guard) + misaligned) % 64
        code = self.c.eq_model_run(
            _pointers(inputs), _pointers(outputs), ctypes.c_void_p(workspace.ctypes.data + start), threads
        )
        assert code == 0
        np.testing.assert_array_equal(workspace[:start], before[:start])
        np.testing.assert_array_equal(workspace[start + self.size :], before[start + self.size :])
        return outputs


def _moved(array, misaligned):
    """A copy so many bytes behind a multiple of 64."""
    memory = np.empty(array.nbytes + 128, "uint8")
    start = -memory.ctypes.data % 64 + misaligned
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _pointers(arrays):
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network with two inputs, and the same result twice; its library, its bundle, and a pair of inputs."""
    folder = tmp_path_factory.mktemp("network")
    model = write_model(
        folder / "two in.onnx",
        [
            ("Conv", "x w", "c", {"pads": [1, 1, 1, 1]}),
            ("Relu", "c", "r", {}),
            ("Conv", "r v", "d", {"pads": [1, 1, 1, 1]}),
            ("Add", "d y", "s", {}),
            ("GlobalAveragePool", "s", "m", {}),
            ("Softmax", "m", "p", {"axis": 1}),
            ("Identity", "s", "again", {}),
            ("Identity", "y", "same", {}),
        ],
        {"x": [1, 3, 21, 21], "y": [1, 24, 21, 21]},
        ["p", "s", "again", "same"],
        {"w": random(32, 3, 3, 3), "v": random(24, 32, 3, 3, seed=1)},
    )
    options = {"scheme": "int7", "calibration": "random", "images": 2}
    library = eq_tvm.compile(model, artifact="standalone", output=folder / "library", **options)
    inputs = [random(1, 3, 21, 21, seed=2), random(1, 24, 21, 21, seed=3)]
    bundle = eq_tvm.load(eq_tvm.compile(model, output=folder / "bundle", **options))
    expected = list(bundle.run({"x": inputs[0], "y": inputs[1]}).values())
    small = write_model(folder / "exp.onnx", [("Exp", "x", "y", {})], {"x": [1, 9]}, ["y"])
    other = eq_tvm.compile(small, artifact="standalone", scheme="float32", output=folder / "other").library
    return SimpleNamespace(library=Library(library), inputs=inputs, expected=expected, other=other)


def check(outputs, expected):
    for output, reference in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(output, reference, strict=True)


@pytest.mark.parametrize("threads", [1, 2, 3, 1000, 0, -1])
def test_same_bits_as_the_bundle_on_all_threads(network, threads):
    for _ in range(3):
        check(network.library.run(*network.inputs, threads=threads), network.expected)


@pytest.mark.parametrize("misaligned", [1, 4, 32, 63])
def test_no_pointer_needs_alignment(network, misaligned):
    check(network.library.run(*network.inputs, threads=2, misaligned=misaligned), network.expected)


def test_runs_at_the_same_time(network):
    def several(seed):
        random = np.random.default_rng(seed)
        return [network.library.run(*network.inputs, threads=seed % 3 + 1, rng=random) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(several, range(4)):
            for outputs in results:
                check(outputs, network.expected)


def test_loaded_and_unloaded_more_often_than_there_are_keys(network):
    """A library holds one of the process's 1024 keys for thread-specific data, and gives it back."""
    for _ in range(1030):
        library = ctypes.CDLL(str(network.other))
        library.eq_model_workspace_size.restype = ctypes.c_size_t
        x, y, workspace = np.zeros(9, "float32"), np.zeros(9, "float32"), np.empty(library.eq_model_workspace_size())
        assert library.eq_model_run(_pointers([x]), _pointers([y]), ctypes.c_void_p(workspace.ctypes.data), 1) == 0
        _ctypes.dlclose(library._handle)
    np.testing.assert_array_equal(y, np.ones(9))
    assert str(network.other) not in Path("/proc/self/maps").read_text()


def test_null_is_refused(network):
    call = network.library.c.eq_model_run
    inputs, outputs = _pointers(network.inputs), _pointers(network.expected)
    workspace = ctypes.create_string_buffer(network.library.size)
    assert call(None, outputs, workspace, 1) == call(inputs, None, workspace, 1) == call(inputs, outputs, None, 1) == -1
    assert call((ctypes.c_void_p * 2)(), outputs, workspace, 1) == -1
    assert call(inputs, (ctypes.c_void_p * 4)(), workspace, 1) == -1


def test_it_needs_the_c_library_only(network):
    library = network.library.written.library
    dynamic = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"NEEDED.*\[(.*?)\]", dynamic)) <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}
    assert library.name == "libtwo_in.so" and "soname: [libtwo_in.so]" in dynamic
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    assert [line.split()[2] for line in symbols.splitlines()] == [
        "eq_model_inputs",
        "eq_model_outputs",
        "eq_model_run",
        "eq_model_workspace_size",
    ]


def test_the_example_program(network):
    written = network.library.written
    outputs, printed = run(written, get_target("native"), network.inputs, threads=2)
    check(outputs, network.expected)
    scores = network.expected[0].ravel()
    best = np.argsort(-scores, kind="stable")[:5]
    assert printed.splitlines()[:6] == ["p", *(f"  {index:6d}  {scores[index]:.4f}" for index in best)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: "),
        (["none.raw", "none.raw"], "can't read none.raw"),
        (["short.raw", "short.raw"], "not as large as the network's input: short.raw"),
        (["long.raw", "long.raw"], "not as large as the network's input: long.raw"),
    ],
)
def test_what_the_example_program_refuses(network, tmp_path, arguments, message):
    (tmp_path / "short.raw").write_bytes(b"1234")
    (tmp_path / "long.raw").write_bytes(bytes(4 * 3 * 21 * 21 + 1))
    program = build(network.library.written, get_target("native"))
    done = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_descriptions(network, tmp_path):
    """As a C++ program sees them."""
    (tmp_path / "print.cc").write_text("""
        #include <cstdio>
        #include "eq_model.h"
        static void print(const eq_model_tensor *tensor, int count) {
            for (; count--; tensor++) {
                std::printf("%s %s %zu", tensor->name, tensor->dtype, tensor->bytes);
                for (int i = 0; i < tensor->rank; i++) std::printf(" %d", (int)tensor->shape[i]);
                std::printf("\\n");
            }
        }
        int main() {
            print(eq_model_inputs(), EQ_MODEL_INPUTS);
            print(eq_model_outputs(), EQ_MODEL_OUTPUTS);
            std::printf("%d\\n", EQ_MODEL_MAX_THREADS);
        }""")
    path = network.library.written.path
    subprocess.run(
        [
            "g++",
            "-Wall",
            "-Werror",
            f"-I{path}",
            "print.cc",
            f"-L{path}",
            "-ltwo_in",
            f"-Wl,-rpath,{path}",
            "-o",
            "print",
        ],
        cwd=tmp_path,
        check=True,
    )
    printed = subprocess.run([tmp_path / "print"], check=True, capture_output=True, text=True).stdout
    size = 24 * 21 * 21 * 4
    assert printed.splitlines() == [
        "x float32 5292 1 3 21 21",
        f"y float32 {size} 1 24 21 21",
        "p float32 96 1 24 1 1",
        *(f"{name} float32 {size} 1 24 21 21" for name in ("s", "again", "same")),
        str(MAX_THREADS),
    ]


def test_the_header_tells_what_it_is(network):
    header = (network.library.written.path / "eq_model.h").read_text()
    for line in (
        "two in (int7) for native",
        "Input  y: float32 (1, 24, 21, 21)",
        "scales are from random images",
        f"uses {network.library.written.workspace} bytes",
    ):
        assert line in header
    assert network.library.written.workspace < network.library.size


@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        ("rpi5", "cortex-a76", "cortex-a53"),
        ("arm-i8mm", "max", "cortex-a76"),
        ("rpi2-32", "cortex-a7", "cortex-a8"),
        ("rpi4-32", "max", "cortex-a7"),
    ],
)
def test_another_processor_is_refused(tmp_path, target, right, wrong):
    """Such as rpi5's code, with instructions that a Cortex-A53 lacks: no crash, but an error that says so."""
    spec = get_target(target)
    model = write_model(tmp_path / "exp.onnx", [("Exp", "x", "y", {})], {"x": [1, 9]}, ["y"])
    if spec.is_cross and not shutil.which(spec.cross_compiler):
        pytest.skip(f"{spec.cross_compiler} is not here")
    written = eq_tvm.compile(model, scheme="float32", artifact="standalone", target=target, output=tmp_path / "out")
    x = np.zeros((1, 9), "float32")
    np.testing.assert_array_equal(run(written, spec, [x], cpu=right)[0], [x + 1])
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(written, spec, [x], cpu=wrong)
    assert error.value.returncode == 2
    assert error.value.stderr == "error: the network was compiled for another processor: choose another --target\n"


def test_names_of_tensors_may_be_anything(tmp_path):
    name = 'a "quoted" \\ */ ?? \n ü'
    graph = helper.make_graph(
        [helper.make_node("Exp", [name], ["y"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "n.onnx")
    written = eq_tvm.compile(tmp_path / "n.onnx", scheme="float32", artifact="standalone", output=tmp_path / "out")
    (result,), _ = run(written, get_target("native"), [np.zeros((1, 3), "float32")])
    np.testing.assert_array_equal(result, np.ones((1, 3), "float32"))
    describe = ctypes.CDLL(str(written.library)).eq_model_inputs
    describe.restype = ctypes.POINTER(ctypes.c_char_p)
    assert describe()[0].decode() == name


FUNCTIONS_OF_OUR_OWN = {
    "ReduceMax": ([("ReduceMax", "x", "y", {"axes": [2]})], {"x": random(1, 2, 4, 4)}, {}),
    "RoiAlign": (
        [("RoiAlign", "x r i", "y", {"output_height": 2, "output_width": 2})],
        {"x": random(1, 2, 4, 4), "r": np.array([[0, 0, 3, 3]], "float32")},
        {"i": np.zeros(1, "int64")},
    ),
    "DeformConv": (
        [("DeformConv", "x w o", "y", {"kernel_shape": [1, 1]})],
        {"x": random(1, 2, 4, 4), "o": random(1, 2, 4, 4, seed=1)},
        {"w": random(3, 2, 1, 1)},
    ),
}


@pytest.mark.parametrize("operator", FUNCTIONS_OF_OUR_OWN)
def test_each_function_has_a_name_in_c(operator, tmp_path):
    nodes, inputs, constants = FUNCTIONS_OF_OUR_OWN[operator]
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    opset = 19 if operator == "DeformConv" else 17
    model = write_model(tmp_path / "net.onnx", nodes, shapes, ["y"], constants, opset=opset)
    options = {"scheme": "float32", "verify": False}
    written = eq_tvm.compile(model, artifact="standalone", output=tmp_path / "library", **options)
    expected = eq_tvm.load(eq_tvm.compile(model, output=tmp_path / "bundle", **options)).run(inputs)["y"]
    check(Library(written).run(*inputs.values()), [expected])


def test_what_it_may_replace(network, tmp_path):
    path = network.library.written.path
    assert standalone.check_destination(path) == path
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UserError, match=r"photos is a directory with cat\.jpg, which is not of a standalone library"):
        standalone.check_destination(tmp_path / "photos")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: (path / "main.c").write_text("int main() {}"), r"with a main\.c that was changed,"),
        (lambda path: (path / "eq_model.h").write_text("int eq;"), r"with eq_model\.h,"),
        (lambda path: (path / "libzz.so").touch(), r"with libzz\.so,"),
        (lambda path: (path / "Makefile").touch(), "with Makefile,"),
    ],
)
def test_what_somebody_added(network, tmp_path, change, said):
    path = tmp_path / "copy"
    shutil.copytree(network.library.written.path, path)
    assert standalone.check_destination(path) == path
    change(path)
    with pytest.raises(UserError, match=said):
        standalone.check_destination(path)


def test_a_network_that_needs_the_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(CONVERTERS, "TopK", lambda call: None)  # TVM's is a function of its runtime
    model = write_model(
        tmp_path / "top.onnx", [("TopK", "x k", "v i", {})], {"x": [1, 9]}, ["v"], {"k": np.array([3], "int64")}
    )
    with pytest.raises(UserError, match=r"topk needs TVM's runtime.*use --artifact bundle"):
        eq_tvm.compile(model, scheme="float32", artifact="standalone", output=tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["top.onnx"]


def test_a_compiler_that_fails(tmp_path, monkeypatch):
    model = write_model(tmp_path / "exp.onnx", [("Exp", "x", "y", {})], {"x": [1, 9]}, ["y"])
    monkeypatch.setattr("eq_tvm.artifacts.linker.command", lambda spec: "false")
    with pytest.raises(UserError, match="linking for native failed"):
        eq_tvm.compile(model, scheme="float32", artifact="standalone", output=tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["exp.onnx"]
