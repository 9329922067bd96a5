"""What docs/standalone.md says works: its command, its C program, its CMake file."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx_models import random, write_model
from PIL import Image

from eq_tvm import cli

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "standalone.md"


def block(language):
    """The only code block in this language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory in which the document's command was run."""
    folder = tmp_path_factory.mktemp("standalone")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        nodes = [
            ("Conv", "data w", "c", {"strides": [8, 8]}),
            ("GlobalAveragePool", "c", "p", {}),
            ("Flatten", "p", "scores", {}),
        ]
        write_model("net.onnx", nodes, {"data": [1, 3, 224, 224]}, ["scores"], {"w": random(10, 3, 3, 3)})
        Path("net.yaml").write_text("{channels: RGB, mean: [128, 128, 128], std: [64, 64, 64]}")
        pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Path("images").mkdir()
        for name in ("images/1.png", "cat.jpg"):
            Image.fromarray(pixels).save(name)
        arguments = shlex.split(block("sh").removeprefix("python -m eq_tvm "))
        assert cli.main([*arguments, "--method", "minmax"]) == 0
    return folder


def test_files(folder):
    assert sorted(file.name for file in (folder / "net-native").iterdir()) == ["eq_model.h", "libnet.so", "main.c"]
    for name in ("libnet.so", "eq_model.h", "main.c"):
        assert f"`{name}`" in DOCUMENT.read_text(encoding="utf-8")


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
    exec(compile(block("python"), str(DOCUMENT), "exec"), {})
    (folder / "CMakeLists.txt").write_text(block("cmake"))
    for arguments in (["-B", "build"], ["--build", "build"]):
        subprocess.run(["cmake", *arguments], check=True, capture_output=True)
    printed = subprocess.run(["build/app", "cat.raw"], check=True, capture_output=True, text=True).stdout
    assert printed.startswith("scores\n") and len(printed.splitlines()) == 1 + 5


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", DOCUMENT.read_text(encoding="utf-8")):
        assert (DOCUMENT.parent / link).exists(), link
