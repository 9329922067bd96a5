"""The command line, as people use it: what it prints, its exit codes, and what it leaves on the disk."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny import SHAPE, write_tiny

from eq_tvm import host
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.cli import main
from eq_tvm.methods import SCALES

RANDOM = np.random.default_rng(11)
FOREIGN = "x86" if host.platform.machine() == "aarch64" else "rpi4"


def conv_model(shape=("batch", 3, 12, 12), weight=None, output_channels=5):
    """Conv 3x3, ReLU, global average pool, flatten."""
    if weight is None:
        weight = RANDOM.standard_normal((output_channels, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first_conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, output_channels])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a network, its calibration images and preprocessing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    onnx.save(conv_model(), "net.onnx")
    images = RANDOM.integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    np.savez("images.npz", images=images, labels=np.arange(8) % 5)
    Image.fromarray(images[0]).save("a.png")
    Image.fromarray(images[1]).save("b.png")
    (tmp_path / "net.yaml").write_text("{channels: RGB, mean: [128, 128, 128], std: [64, 64, 64]}")
    return tmp_path


COMPILE = ("compile", "net.onnx", "--calibration", "images.npz", "--preprocess", "net.yaml", "--method", "minmax")


def test_from_onnx_to_results(cli, folder):
    code, out, err = cli(*COMPILE, "--images", 4)
    assert code == 0, err
    assert "python -m eq_tvm evaluate net-native.eqtvm --data IMAGES --reference net.onnx" in out
    bundle = bundles.read("net-native.eqtvm")
    assert bundle.calibrated and bundle.scheme.startswith(("int", "w")) and bundle.calibration["types"]["cycles"]
    assert {k: bundle.calibration[k] for k in ("method", "images", "source")} == {
        "method": "minmax",
        "images": 4,
        "source": "images.npz",
    }
    assert [layer["layer"] for layer in bundle.calibration["layers"]] == ["first_conv"]
    assert bundle.inputs == (bundles.TensorInfo("x", (1, 3, 12, 12), "float32"),)
    assert bundle.outputs == (bundles.TensorInfo("scores", (1, 5), "float32"),)

    code, out, err = cli("run", "net-native.eqtvm", "--input", "a.png", "b.png", "--output", "y.npz", "--top", 2)
    assert code == 0, err
    scores = np.load("y.npz")["scores"]
    assert scores.shape == (2, 5)
    assert out.split()[:2] == ["a.png", "scores"] and int(out.split()[2]) == scores[0].argmax()
    assert len(out.splitlines()) == 2 * (2 + 2)

    code, out, err = cli("evaluate", "net-native.eqtvm", "--data", "images.npz", "--reference", "net.onnx", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert list(result) == ["top1", "top5", "agreement", "cosine", "n", "float_top1"] and result["n"] == 8
    assert 0.99 < result["cosine"] <= 1 and result["agreement"] > 0.5

    code, out, err = cli("bench", "net-native.eqtvm", "--seconds", 0.01, "--threads", 1, "--json")
    assert code == 0 and err == ""
    assert list(json.loads(out)) == ["median_ms", "min_ms", "threads", "runs"] and json.loads(out)["threads"] == 1
    assert cli("bench", "net-native.eqtvm", "--seconds", 0.01)[1].startswith("median ")
    assert "top-1" in cli("evaluate", "net-native.eqtvm", "--data", "images.npz", "--limit", 2)[1]


def test_run_on_tensors(cli, folder):
    assert cli(*COMPILE, "--scheme", "float32", "--output", "net")[0] == 0
    x = RANDOM.standard_normal((3, 3, 12, 12), dtype=np.float32)
    np.save("batch.npy", x)
    np.save("one.npy", x[2])
    np.savez("named.npz", x=x[2:])
    for file in ("batch.npy", "one.npy", "named.npz", "images.npz"):
        assert cli("run", "net", "--input", file, "--output", f"{file}.out.npz")[0] == 0
    results = [np.load(f"{file}.out.npz")["scores"] for file in ("batch.npy", "one.npy", "named.npz", "images.npz")]
    assert [len(r) for r in results] == [3, 1, 1, 8]
    np.testing.assert_array_equal(results[0][2:], results[1])
    np.testing.assert_array_equal(results[1], results[2])


def test_random_calibration_is_noted(cli, folder):
    code, out, _ = cli("compile", "net.onnx", "--calibration", "random", "--method", "minmax", "--output", "b")
    assert code == 0 and "scales from random images" in out
    assert not bundles.read("b").calibrated


def test_a_bundle_for_32_bit_arm_names_the_other_artifact(cli, folder):
    if not shutil.which("arm-linux-gnueabihf-g++"):
        pytest.skip("arm-linux-gnueabihf-g++ is not here")
    code, out, err = cli(*COMPILE, "--target", "rpi2-32")
    assert code == 0, err
    assert re.search("^next +--artifact standalone: TVM, which runs bundles, has no packages", out, re.M)


def test_images_without_preprocessing_are_warned_of(cli, folder):
    def warned(*arguments):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            code, _, err = cli(*arguments)
        assert code == 0, err
        return any("images.npz goes into the network as pixels from 0 to 255" in str(each) for each in caught)

    np.savez("floats.npz", x=RANDOM.standard_normal((8, 3, 12, 12), np.float32))
    (folder / "as_they_are.yaml").write_text("{channels: RGB, mean: [0, 0, 0], std: [1, 1, 1]}")
    quantize = ("net.onnx", "--method", "minmax", "--calibration")
    for command in ("compile", "analyze"):
        assert warned(command, *quantize, "images.npz")
        assert not warned(command, *quantize, "floats.npz")
        assert not warned(command, *quantize, "images.npz", "--preprocess", "as_they_are.yaml")
    assert not warned("evaluate", "net-native.eqtvm", "--data", "images.npz")
    assert warned("evaluate", "net.onnx", "--data", "images.npz")


def test_standalone(cli, refused, folder):
    code, out, err = cli(*COMPILE, "--artifact", "standalone")
    assert code == 0, err
    assert {file.name for file in (folder / "net-native").iterdir()} >= {"eq_model.h", "libnet.so", "main.c"}
    for line in (
        r"library +net-native",
        r"optimize +speed, which costs \d+ bytes of weights over --optimize size",
        r"memory +0\.\d\d MB of workspace on one thread",
        r"next +build net-native/main\.c",
    ):
        assert re.search(f"^{line}", out, re.M), out
    shutil.copytree("net-native", "photos")
    (folder / "photos" / "eq_model.h").unlink()
    refused(
        "photos is a directory with eq_model-config.cmake, which is not of a standalone library",
        *COMPILE,
        "--artifact",
        "standalone",
        "--output",
        "photos",
    )
    refused(
        "net-native is a directory with eq_model-config.cmake, which is not of a bundle",
        *COMPILE,
        "--output",
        "net-native",
    )


@pytest.mark.parametrize(("scheme", "name"), [("auto", "net-native"), ("int8", "net-native-int8")])
def test_names_tell_schemes_apart(cli, folder, scheme, name):
    assert cli(*COMPILE, "--scheme", scheme, "--no-verify")[0] == 0
    assert scheme in ("auto", bundles.read(f"{name}.eqtvm").scheme)


def test_optimize_size(cli, folder):
    assert re.search("^optimize +size$", cli(*COMPILE, "--optimize", "size", "--output", "b")[1], re.M)
    assert bundles.read("b").optimize == "size"


def test_recompiling_replaces_the_bundle(cli, folder):
    for scheme in ("float32", "int8"):
        assert cli(*COMPILE, "--scheme", scheme, "--output", "b")[0] == 0
        assert bundles.read("b").scheme == scheme
    assert not list(folder.glob(".*"))


def test_dump_passes(cli, folder):
    assert cli(*COMPILE, "--dump-passes", "dump/here")[0] == 0
    assert any(file.read_text() for file in (folder / "dump/here").iterdir())


def test_dynamic_shape(cli, refused, folder):
    onnx.save(conv_model(["n", 3, "h", "w"]), "dynamic.onnx")
    refused("--input x=", "compile", "dynamic.onnx", "--calibration", "images.npz", "--output", "d")
    arguments = ("--calibration", "images.npz", "--method", "minmax", "--output", "d", "--input", "x=1,3,12,12")
    code, _, err = cli("compile", "dynamic.onnx", *arguments)
    assert code == 0, err
    assert bundles.read("d").inputs[0].shape == (1, 3, 12, 12)


def test_targets(cli):
    code, out, err = cli("targets")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()][:5] == ["x86", "x86-vnni", "x86-zen4", "x86-amx", "native"]


def test_help(cli):
    for arguments in ([], ["--help"], ["compile", "--help"], ["run", "--help"]):
        code, out, err = cli(*arguments)
        assert (code, err) == (0, "") and "python -m eq_tvm" in out


def test_usage_errors(refused):
    refused("No such command 'fly'", "fly")
    refused("No such option: --sped", "compile", "--sped", "9")
    refused("--speed 9 is out of reach", "compile", "--speed", "9")
    refused("Missing argument 'BUNDLE'", "run")
    refused("--images", "compile", "--images", "many")
    refused("--images must be from 1 to 100000, not 0", "compile", "--images", "0")
    refused(
        "--scheme must be one of auto, int4, w4a8, int5, int6, int7, w8a7, w7a8, int8,",
        "compile",
        "--scheme",
        "int9",
    )
    refused("--method must be one of easyquant, easyquant-shipped, minmax", "compile", "--method", "aciq")
    refused("--activation-range must be one of", "compile", "--activation-range", "half")
    refused("--artifact must be one of bundle, standalone, not exe", "compile", "--artifact", "exe")
    refused("--optimize must be one of speed, size, not both", "compile", "--optimize", "both")
    refused("--input must look like NAME=1,3,224,224, not x=1,a", "compile", "--input", "x=1,a")
    refused("--input must look like NAME=1,3,224,224", "compile", "--input", f"x={10**20},3,32,32")
    refused("no such bundle: b", "run", "b")
    refused("no images: pass --data DATA", "evaluate", "net.onnx")
    refused("--threads and --seconds must be positive numbers", "bench", "b", "--seconds", "0")
    refused("and inf", "bench", "b", "--seconds", "inf")


def test_bad_targets(refused, folder):
    refused(
        "unknown target toaster; there are: x86, x86-vnni, x86-zen4, x86-amx, native", *COMPILE, "--target", "toaster"
    )
    refused("can't read the targets file none.yaml", *COMPILE, "--targets", "none.yaml")
    (folder / "t.yaml").write_text("board: {cpus: 4}")
    refused("target board in t.yaml has the unknown key cpus", "targets", "--targets", "t.yaml")


def test_missing_cross_compiler(refused, monkeypatch, folder):
    monkeypatch.setenv("PATH", str(folder))
    package = "g++-x86-64-linux-gnu" if FOREIGN == "x86" else "g++-aarch64-linux-gnu"
    refused(f"install it (Debian package {package})", *COMPILE, "--target", FOREIGN)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    refused("no C++ compiler to link with: install one (Debian package g++)", *COMPILE)


def test_bad_model_files(refused, folder):
    content = (folder / "net.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(content[: len(content) // 2])
    (folder / "text.onnx").write_text("this is no network")
    (folder / "empty.onnx").touch()
    for name in ("none.onnx", "cut.onnx", "text.onnx", "empty.onnx"):
        refused(name, "compile", name, *COMPILE[2:])


def test_bad_synthetic(refused):
    refused("--synthesize must be from 1 to 100000", "compile", "net.onnx", "--synthesize", -1)
    refused("--synthesize must be from 1 to 100000", "compile", "net.onnx", "--synthesize", 0)
    refused("both say how many", "compile", "net.onnx", "--synthesize", 8, "--images", 8)
    refused("or --calibration random", "compile", "net.onnx", "--calibration", "random", "--synthesize", 8)
    refused("or --scheme float32", "compile", "net.onnx", "--scheme", "float32", "--synthesize", 8)
    refused("--save-images writes synthetic", "compile", "net.onnx", "--calibration", "random", "--save-images", "p")


def test_without_images(cli, folder):
    """Three synthetic images, the same in both runs, and written down; then beside those there are."""
    common = ("compile", "net.onnx", *COMPILE[COMPILE.index("--preprocess") :][:2], "--no-verify")
    for name in ("a", "b"):
        code, out, _ = cli(*common, "--synthesize", 3, "--save-images", f"{name}-images", "--output", f"{name}.eqtvm")
        assert code == 0 and "3 synthetic images" in out
    first, second = (bundles.read(folder / f"{name}.eqtvm").calibration for name in "ab")
    assert first["calibrated"] and first["images_sha256"] == second["images_sha256"]
    assert first["synthetic"] == {"images": 3, "batch_norms": 0, "layers": 0, "noise": []}
    assert len(list((folder / "a-images").glob("*.png"))) == 3
    code, out, _ = cli(*COMPILE, "--synthesize", 2, "--output", "c.eqtvm")
    both = bundles.read(folder / "c.eqtvm").calibration
    assert code == 0 and both["images"] == 8 + 2 and both["synthetic"]["images"] == 2
    assert both["synthetic"]["layers"] and "and 2 synthetic images, matched to these" in out


def test_bad_calibration(refused, folder):
    np.savez("empty.npz", images=np.zeros((0, 12, 12, 3), np.uint8))
    np.savez("small.npz", images=np.zeros((2, 9, 9, 3), np.uint8))
    np.savez("nan.npz", images=np.full((2, 3, 12, 12), np.nan, np.float32))
    (folder / "cut.npz").write_bytes((folder / "images.npz").read_bytes()[:-40])
    (folder / "photos").mkdir()
    shutil.copy("a.png", "photos/a.png")
    (folder / "photos" / "b.jpg").write_bytes(b"no image")
    (folder / "list.csv").write_text("file,label\nc.png,1\n")
    for data, message in [
        ("none", "no such file or directory: none"),
        ("empty.npz", "empty.npz contains no images"),
        ("small.npz", "image 0 of small.npz becomes an input of shape (1, 3, 9, 9), but the network takes"),
        ("nan.npz", "image 0 of nan.npz contains NaN or infinity"),
        ("cut.npz", "can't read cut.npz"),
        ("photos", "can't read the image photos/b.jpg"),
        ("list.csv", "list.csv, line 2: no such file: c.png"),
    ]:
        refused(message, "compile", "net.onnx", "--calibration", data)


def test_bad_preprocessing(refused, folder):
    (folder / "bad.yaml").write_text("{channels: RGB, mean: [1, 2, 3]}")
    refused("bad.yaml lacks std", "compile", "net.onnx", "--calibration", "random", "--preprocess", "bad.yaml")
    (folder / "grey.yaml").write_text("{channels: GRAY, mean: [1], std: [1]}")
    refused("channels GRAY does not fit: the network takes (1, 3, 12, 12), NCHW", *COMPILE, "--preprocess", "grey.yaml")


@pytest.mark.parametrize("scheme", ["int7", "float32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(refused, bad, scheme):
    weight = np.ones((5, 3, 3, 3), np.float32)
    weight[2, 1, 0, 0] = bad
    onnx.save(conv_model(weight=weight), "net.onnx")
    refused("first_conv", *COMPILE, "--scheme", scheme)


@pytest.mark.parametrize("method", [*SCALES, "mse+"])
def test_activations_that_are_no_numbers(refused, method):
    onnx.save(conv_model(weight=np.full((5, 3, 3, 3), 3e38, np.float32)), "net.onnx")
    refused("first_conv", *COMPILE[:-1], method)


def test_bad_destinations(refused, folder):
    (folder / "photos").mkdir()
    shutil.copy("a.png", "photos/a.png")
    refused("photos is a directory with a.png, which is not of a bundle", *COMPILE, "--output", "photos")
    refused("a.png is a file", *COMPILE, "--output", "a.png")
    refused("for the bundle does not exist", *COMPILE, "--output", "none/b")
    refused("can't write to the directory a.png", *COMPILE, "--dump-passes", "a.png")
    refused("can't write in /proc", *COMPILE, "--output", "/proc/b")
    refused("can't write in /proc", "run", "b", "--input", "a.png", "--output", "/proc/y.npz")
    refused("can't write in /proc", "analyze", *COMPILE[1:], "--output", "/proc/y.json")
    refused("can't write /dev/null: there is something that is no file", "analyze", "--output", "/dev/null")
    refused("can't write to the directory /proc/dump", *COMPILE, "--dump-passes", "/proc/dump")


def test_no_room_for_temporary_files(refused, folder, monkeypatch):
    full = shutil.disk_usage(folder)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    refused("has 0.1 MB left, but compiling takes about 4.2 MB of temporary files: set TMPDIR", *COMPILE)


def test_without_tvms_compiler(refused, monkeypatch):
    monkeypatch.setenv("TVM_USE_RUNTIME_LIB", "1")
    for command in (COMPILE, ["analyze", *COMPILE[1:]]):
        refused("TVM is loaded without its compiler here: unset TVM_USE_RUNTIME_LIB", *command)


def test_names_that_are_too_long(refused, folder, tiny_executable):
    write_tiny(folder / "tiny", tiny_executable)
    long = "x" * 300
    for command in (
        ["compile", long],
        *([*COMPILE, option, long] for option in ("--calibration", "--preprocess", "--output", "--dump-passes")),
        [*COMPILE, "--targets", long],
        ["run", long, "--input", "a.png"],
        ["run", "tiny", "--input", long],
        ["run", "tiny", "--input", "a.png", "--output", f"{long}.npz"],
        ["evaluate", long, "--data", "images.npz"],
        ["evaluate", "tiny", "--data", long],
        ["evaluate", "tiny", "--data", "images.npz", "--reference", long],
        ["bench", long],
        ["analyze", long],
        ["analyze", "--output", long],
    ):
        refused("File name too long", *command)


def test_bad_bundles(refused, folder, tiny_executable):
    bundle = write_tiny(folder / "tiny", tiny_executable)
    write_tiny(folder / "foreign", tiny_executable, FOREIGN)
    for command in (["run", "foreign", "--input", "a.png"], ["bench", "foreign"]):
        refused("this machine is", *command)
    refused("--output must end with .npz", "run", "tiny", "--input", "a.png", "--output", "y.txt")
    refused("no such input file: c.png", "run", "tiny", "--input", "c.png")
    refused("foreign is a directory: pass the files in it", "run", "tiny", "--input", "a.png", "foreign")
    refused(f"the network takes {SHAPE}", "run", "tiny", "--input", "a.png")
    np.savez("named.npz", z=np.zeros(SHAPE, np.float32))
    refused("named.npz has the arrays z; the inputs are x", "run", "tiny", "--input", "named.npz")
    refused("can't read the image net.yaml", "run", "tiny", "--input", "net.yaml")
    refused("no such bundle: none", "run", "none", "--input", "a.png")
    refused("no bundle", "bench", "net.onnx")
    with bundle.library.open("ab") as file:
        file.write(b"\0")
    refused("the bundle tiny was altered: model.so", "bench", "tiny")
    bundle.library.unlink()
    refused("the bundle tiny is incomplete: can't read model.so", "evaluate", "tiny", "--data", "images.npz")
    description = json.loads((bundle.path / "bundle.json").read_text())
    (bundle.path / "bundle.json").write_text(json.dumps(description | {"schema": 99}))
    refused("has schema 99, newer than this eq_tvm reads", "run", "tiny", "--input", "a.png")


def start(*arguments):
    environment = {**os.environ, "TVM_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "eq_tvm", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def test_as_a_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = start("compile", "none.onnx")
    assert process.communicate() == ("", "error: no such ONNX file: none.onnx\n") and process.returncode == 2


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">/dev/full", 2, "error: can't write to the standard output: No space left on device\n"),
        (">&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("--targets none.yaml 2>/dev/full", 2, ""),
        ("| true", 0, ""),
    ],
)
def test_where_nothing_can_be_printed(redirected, code, said):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = ["bash", "-c", f"set -o pipefail; {sys.executable} -m eq_tvm targets {redirected}"]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_names_that_the_terminal_lacks(tmp_path):
    (tmp_path / "t.yaml").write_text("pi: {description: nœud, host: true}", encoding="utf-8")
    command = [sys.executable, "-m", "eq_tvm", "targets", "--targets", str(tmp_path / "t.yaml")]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "n\\u0153ud" in done.stdout


def test_help_and_targets_do_not_wait_for_tvm():
    script = (
        "import sys; from eq_tvm.cli import main; main(['targets']); main(['--help']); assert 'tvm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_ctrl_c_that_an_import_takes_for_a_failure(folder, monkeypatch, capsys):
    def interrupted_import(*_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return {}

    monkeypatch.setattr("eq_tvm.targets.load_targets", interrupted_import)
    assert main(["targets"]) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_inside_a_pass(folder, monkeypatch, capsys, number):
    from eq_tvm import pipeline

    def quantize(module, *args, **options):
        @tvm.transform.module_pass(opt_level=0)
        def interrupted_pass(module, context):
            signal.raise_signal(number)

        return interrupted_pass(module), []

    monkeypatch.setattr(pipeline, "quantize", quantize)
    assert main(list(COMPILE)) == 128 + number
    assert "Traceback" not in capsys.readouterr().err and not (folder / "net-native.eqtvm").exists()
