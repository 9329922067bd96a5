"""What comes with a standalone library: its users' programs, each as they build it, give the bundle's bits."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import random, write_classifier, write_model
from PIL import Image

import eq_tvm
from eq_tvm import standalone
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess
from eq_tvm.standalone.companions import eq_model

MARK = "As eq_tvm wrote it"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of images; its library, in a folder with a space in its name, its bundle, an image and its scores."""
    folder = tmp_path_factory.mktemp("a network")
    model = write_classifier(folder / "net.onnx", "x", [1, 3, 20, 24], 10)
    (folder / "net.yaml").write_text("{channels: BGR, mean: [99, 100, 101], std: [60, 61, 62], resize: [20, 24]}")
    options = {"calibration": "random", "images": 2, "preprocess": folder / "net.yaml", "verify": False}
    library = eq_tvm.compile(model, artifact="standalone", output=folder / "a library", **options)
    bundle = eq_tvm.load(eq_tvm.compile(model, output=folder / "bundle", **options))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(folder / "cat.png")
    rgb = np.asarray(Image.alpha_composite(Image.new("RGBA", (40, 50), "white"), Image.open(folder / "cat.png")))
    x = random(1, 3, 20, 24, seed=4)
    return SimpleNamespace(
        folder=folder,
        path=library.path,
        x=x,
        pixels=rgb[:, :, :3],
        scores=bundle.run(x)["scores"],
        of_pixels=bundle.run(rgb[:, :, :3])["scores"],
    )


def python(network, program):
    """What a program prints, with the library's folder for all that is beyond Python, numpy and Pillow."""
    hide = "import sys; sys.modules.update(dict.fromkeys(['eq_tvm', 'tvm', 'onnx', 'yaml']))\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}import numpy as np\nfrom eq_model import Model\n{program}"],
        cwd=network.folder,
        env=os.environ | {"PYTHONPATH": str(network.path)},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_python(network):
    np.savez(network.folder / "in.npz", x=network.x, pixels=network.pixels)
    python(
        network,
        """
given, model = np.load("in.npz"), Model()
assert list(model.inputs) == ["x"] and model.outputs["scores"] == ((1, 10), np.dtype("float32"))
x, pixels = given["x"], given["pixels"]
runs = [dict(inputs=x), dict(inputs={"x": x[0]}, threads=1), dict(inputs=x.copy("F"), threads=999)]
images = [dict(inputs=pixels), dict(inputs="cat.png"), dict(inputs=["cat.png"]), dict(inputs=pixels[None])]
np.savez("out.npz", *(model.run(**each)["scores"] for each in runs + images))
""",
    )
    with np.load(network.folder / "out.npz") as out:
        for index in range(7):
            np.testing.assert_array_equal(out[f"arr_{index}"], network.scores if index < 3 else network.of_pixels)


SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))


@given(SIZES, SIZES, st.sampled_from(["", "resize", "letterbox", "crop", "shorter side"]), st.booleans())
def test_python_prepares_pixels_as_eq_tvm_does(image, size, how, grey):
    sized = {
        "": {},
        "shorter side": {"resize": max(size)},
        "crop": {"resize": max(size), "crop": size},
    }.get(how, {how: size})
    count = 1 if grey else 3
    steps = Preprocess("GRAY" if grey else "BGR", (7.0,) * count, (3.0,) * count, layout="NCHW", **sized)
    pixels = np.random.default_rng(0).integers(0, 256, (*image, 3), dtype=np.uint8)
    np.testing.assert_array_equal(eq_model._preprocessed("x", pixels, **steps.to_dict()), steps(pixels))


def test_what_python_refuses(network):
    said = python(
        network,
        """
x = np.zeros((1, 3, 20, 24), "float32")
pixels, files = np.zeros((4, 4), "uint8"), ["cat.png"] * 2
for given in (x[:, :2], x.astype("float64"), {"y": x}, x * np.nan, "none.png", pixels, files):
    try:
        Model().run(given)
    except (OSError, TypeError, ValueError) as e:
        print(e)
try:
    Model("eq_model.py")
except OSError as e:
    print(e)
""",
    )
    for line, start in zip(
        said.splitlines(),
        (
            "x has the shape (1, 2, 20, 24), the network takes (1, 3, 20, 24)",
            "x is float64, the network takes float32: convert it by .astype('float32')",
            "the network takes x, not y",
            "x has NaN or infinity",
            "[Errno 2] No such file or directory: '",  # the path as Pillow says it
            "x: pixels are (height, width, 1 or 3 channels), not (4, 4)",
            "x takes 1 image, not 2",
            f"{network.folder}/eq_model.py: cannot open shared object file: No such file or directory (this machine is",
        ),
        strict=True,
    ):
        assert line.startswith(start)


def test_python_as_a_program(network):
    command = [sys.executable, network.path / "eq_model.py"]
    printed = subprocess.run([*command, "cat.png"], cwd=network.folder, check=True, capture_output=True, text=True)
    scores = network.of_pixels.ravel()
    best = np.argsort(-scores, kind="stable")[:5]
    assert printed.stdout.splitlines() == ["cat.png", *(f"  scores {at:6d}  {scores[at]:.4f}" for at in best)]
    done = subprocess.run([*command, "in.txt"], cwd=network.folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: \[Errno 2\] No such file or directory: '(.*/)?in\.txt'\n", done.stderr)


def test_rows_that_the_data_choose(tmp_path):
    model = write_model(tmp_path / "net.onnx", [("NonZero", "x", "y", {})], {"x": [2, 3]}, ["y"])
    written = eq_tvm.compile(model, artifact="standalone", scheme="float32", output=tmp_path / "net", verify=False)
    network = SimpleNamespace(folder=tmp_path, path=written.path)
    printed = python(network, "print(Model().run(np.array([[0, 1, 0], [2, 0, 3]], 'float32'))['y'].tolist())")
    assert printed == "[[0, 1, 1], [1, 0, 2]]\n"


PROGRAM = """
#include <cstdio>
#include "eq_model.hpp"

int main()
{
    eq_model::Model other, model = std::move(other);
    if (!model || other || other.run() != -1 || other.input<float>(0)) return 3;
    if (model.input<int>(0) || model.input<float>(-1) || model.input<float>(1) || model.output<double>(0)) return 4;
    std::FILE *file = std::fopen("x.raw", "rb");
    if (!file || std::fread(model.input<float>(0), 4, 3 * 20 * 24, file) != 3 * 20 * 24) return 5;
    std::fclose(file);
    if (model.run(2)) return 6;
    return std::fwrite(model.output<float>(0), 4, 10, stdout) != 10;
}
"""
FLAGS = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fno-exceptions", "-fno-rtti"]


def check_program(network, program):
    done = subprocess.run(
        [program], cwd=network.folder, env=os.environ | {"LD_LIBRARY_PATH": str(network.path)}, capture_output=True
    )
    assert done.returncode == 0
    np.testing.assert_array_equal(np.frombuffer(done.stdout, "float32"), network.scores.ravel())


def test_cpp_by_pkg_config(network, tmp_path):
    if not shutil.which("pkg-config"):
        pytest.skip("pkg-config is not here")
    network.x.tofile(network.folder / "x.raw")
    (tmp_path / "app.cc").write_text(PROGRAM)
    asked = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "eq_model"],
        env=os.environ | {"PKG_CONFIG_PATH": str(network.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    subprocess.run(["g++", *FLAGS, "app.cc", *shlex.split(asked.stdout), "-o", "app"], cwd=tmp_path, check=True)
    check_program(network, tmp_path / "app")


def test_cpp_by_cmake(network, tmp_path):
    if not shutil.which("cmake"):
        pytest.skip("cmake is not here")
    network.x.tofile(network.folder / "x.raw")
    (tmp_path / "app.cc").write_text(PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app CXX)\nfind_package(eq_model REQUIRED)\n"
        "find_package(eq_model REQUIRED)\nadd_executable(app app.cc)\ntarget_link_libraries(app eq_model::eq_model)\n"
    )
    for arguments in (["-B", "build", f"-Deq_model_DIR={network.path}"], ["--build", "build"]):
        subprocess.run(["cmake", *arguments], cwd=tmp_path, check=True, capture_output=True)
    check_program(network, tmp_path / "build" / "app")


@pytest.mark.parametrize("name", ["main.c", "eq_model.hpp", "eq_model.py", "eq_model.pc", "eq_model-config.cmake"])
def test_what_somebody_changed_is_kept(network, tmp_path, name):
    path = tmp_path / "copy"
    shutil.copytree(network.path, path)
    (path / "__pycache__").mkdir(exist_ok=True)  # what an import leaves
    text = (path / name).read_text()
    assert text.splitlines()[-1].lstrip("/# ").startswith(MARK)
    assert standalone.check_destination(path) == path
    for other in (text + " ", text.replace(MARK, "Mark"), text.replace("eq_model", "other", 1), ""):
        (path / name).write_text(other)
        with pytest.raises(UserError, match=f"a {name} that was changed"):
            standalone.check_destination(path)
    Path(path / name).unlink()
    assert standalone.check_destination(path) == path
