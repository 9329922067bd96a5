"""What docs/standalone.md says works: its command, its C program, its CMake file."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blocks import blocks, text_of
from onnx_models import write_classifier
from PIL import Image

from eq_tvm import cli
from eq_tvm.standalone import companion

PAGE = "docs/standalone.md"


def block(language, index=0):
    """A code block in this language, by default the first."""
    return blocks(PAGE, language)[index].text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory in which the document's command was run."""
    folder = tmp_path_factory.mktemp("standalone")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_classifier("net.onnx", "data", [1, 3, 224, 224], 10, strides=[8, 8])
        Path("net.yaml").write_text("{channels: RGB, mean: [128, 128, 128], std: [64, 64, 64]}")
        pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Path("images").mkdir()
        for name in ("images/1.png", "cat.jpg"):
            Image.fromarray(pixels).save(name)
        arguments = shlex.split(block("sh").removeprefix("python -m eq_tvm "))
        assert cli.main([*arguments, "--method", "minmax"]) == 0
    return folder


def test_files(folder):
    names = {"libnet.so", "eq_model.h", *companion.NAMES}
    assert {file.name for file in (folder / "net-native").iterdir()} == names
    for name in names:
        assert f"`{name}`" in text_of(PAGE)


def test_c_program(folder):
    (folder / "app.c").write_text(block("c"))
    subprocess.run(
        [
            "g++",
            "-x",
            "c",
            "-Wall",
            "-Wextra",
            "-Werror",
            "app.c",
            "-x",
            "none",
            "-Inet-native",
            "-Lnet-native",
            "-lnet",
            "-Wl,-rpath,$ORIGIN/net-native",
            "-o",
            "app",
        ],
        cwd=folder,
        check=True,
    )
    printed = subprocess.run([folder / "app"], check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"scores: -?[\d.]+, ...\n", printed)


def test_cmake_and_raw_tensor(folder, monkeypatch):
    if not shutil.which("cmake"):
        pytest.skip("cmake is not here")
    monkeypatch.chdir(folder)
    exec(compile(block("python"), PAGE, "exec"), {})
    (folder / "CMakeLists.txt").write_text(block("cmake"))
    for arguments in (["-B", "build"], ["--build", "build"]):
        subprocess.run(["cmake", *arguments], check=True, capture_output=True)
    printed = subprocess.run(["build/app", "cat.raw"], check=True, capture_output=True, text=True).stdout
    assert printed.startswith("scores\n") and len(printed.splitlines()) == 1 + 5


def test_cpp_program(folder):
    (folder / "app.cc").write_text(block("cpp"))
    options = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-Inet-native", "-Lnet-native", "-lnet"]
    subprocess.run(["g++", "app.cc", *options, "-Wl,-rpath,$ORIGIN/net-native", "-o", "cpp"], cwd=folder, check=True)
    printed = subprocess.run([folder / "cpp"], check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"scores: -?[\d.]+, ...\n", printed)


def test_python_program(folder):
    (folder / "app.py").write_text(block("python", 1))
    place = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", block("sh", 1)], cwd=folder, env=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[0] == "cat.jpg" and len(printed) == 1 + 5 + 2 and printed[-1] == "scores (1, 10)"


def test_pkg_config(folder):
    if not shutil.which("pkg-config"):
        pytest.skip("pkg-config is not here")
    np.zeros((1, 3, 224, 224), "float32").tofile(folder / "cat.raw")
    done = subprocess.run(["sh", "-ec", block("sh", 2)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scores\n")
