"""Each file in examples/ runs as it stands, and does what it says."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_the_list_is_complete():
    listed = set(re.findall(r"\]\((\w[\w.]*)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    there = {file.name for file in EXAMPLES.iterdir() if file.name not in ("README.md", ".gitignore", "__pycache__")}
    assert listed == {name for name in there if not name.endswith((".eqtvm", ".npz"))}


def test_easyquant_in_own_pipeline(run):
    out = run("easyquant_in_own_pipeline.py")
    assert re.search(r"^\d+ quantized tensors; activations' scales from 0\.\d+ to \d+\.\d+$", out, re.M)
    assert "highest scores of the first images: 3 9 3" in out


def test_only_the_schedules(run):
    lines = run("only_the_schedules.py", "--size", 8, "--channels", 16).splitlines()
    assert len(lines) >= 2 and all(line.endswith("cycles by the model, equal to numpy") for line in lines)
    assert "cycles by the model" in run("only_the_schedules.py", "--size", 8, "--channels", 16, "--target", "rpi4")


@pytest.mark.parametrize("tool", ["nncf", "onnxruntime"])
def test_qdq(run, tool):
    pytest.importorskip(tool)
    out = run("qdq_from_nncf.py", *([] if tool == "nncf" else ["--with", tool]))
    assert "layers on integers; scales: own" in out
    assert float(re.search(r"cosine (\S+) with", out)[1]) > 0.999 and "100.0% same decisions" in out


def test_pytorch_to_raspberry_pi(run):
    pytest.importorskip("torch")
    out = run("pytorch_to_raspberry_pi.py")
    assert "torch-rpi4.eqtvm" in out and float(re.search(r"here: (\S+)", out)[1]) > 0.999


def test_detector_and_webcam(run, tmp_path):
    found = run("detector.py").splitlines()
    with np.load("spots.npz"), Image.open("spots.png") as image:
        pixels = np.asarray(image.convert("L"))
    first = re.fullmatch(r" *(\d+)%  spot +(\d+) (\d+) (\d+) (\d+)", found[0])
    left, top, right, bottom = map(int, first.groups()[1:])
    assert pixels[top + 20 : bottom - 20, left + 20 : right - 20].min() > 140  # it is bright there
    with Image.open("found.png") as drawn:
        assert drawn.size == image.size

    Path("frames").mkdir()
    shutil.copy("spots.png", "frames/1.png")
    lines = run("webcam.py", "detector-native.eqtvm", "--source", "frames", "--draw", "seen").splitlines()
    assert len(lines) == 1 and re.match(r" +1 +\d+\.\d frames/s  +\d+%  class 0 ", lines[0])
    assert Path("seen/00001.png").is_file()
    with pytest.raises(SystemExit, match="no such file: street"):
        run("webcam.py", "detector-native.eqtvm", "--source", "street.mp4")


def test_webcam_on_digits(run):
    lines = run("webcam.py", "--frames", 3).splitlines()
    assert [line.split()[3] for line in lines] == ["3", "9", "3"]


@pytest.mark.parametrize("target", ["native", pytest.param("rpi4", marks=pytest.mark.exhaustive)])
def test_c_program(tmp_path, target):
    folder = shutil.copytree(
        EXAMPLES / "c_program", tmp_path / "c", ignore=shutil.ignore_patterns("digit*", "classify")
    )
    tools = {"native": [], "rpi4": ["TARGET=rpi4", "CC=aarch64-linux-gnu-gcc"]}[target]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["make", "-s", *tools, "classify", "digit.ppm"], cwd=folder, check=True, env=environment)
    emulator = [] if target == "native" else ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
    if emulator and not shutil.which(emulator[0]):
        pytest.skip("qemu-aarch64 is not here")
    said = subprocess.run(
        [*emulator, "./classify", "digit.ppm"], cwd=folder, check=True, capture_output=True, text=True
    )
    assert said.stdout.startswith("3 (score ")
    wrong = subprocess.run([*emulator, "./classify", "Makefile"], cwd=folder, capture_output=True, text=True)
    assert wrong.returncode == 2 and "usage: ./classify FILE.ppm" in wrong.stderr
