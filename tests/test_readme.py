"""What README.md says is true: its commands and Python run, its errors are those one gets, its links lead somewhere."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from as_formats import Network, folded, to_relay, to_tflite, to_torch
from onnx_models import random, write_model
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image

from eq_tvm import cli, host
from eq_tvm.targets import load_targets

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BOARD = (ROOT / "docs" / "raspberry-pi.md").read_text(encoding="utf-8")
TORCH = find_spec("torch") and find_spec("onnxscript")
TEST_COMMAND = "python -m pytest -n 2"


def blocks(*languages):
    """The code blocks in these languages, in order, as (language, text)."""
    return [block for block in re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S) if block[0] in languages]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    write_model(
        "net.onnx",
        [
            ("Conv", "data w b", "c", {"strides": [8, 8], "pads": [0] * 4, "group": 1, "kernel_shape": [3, 3]}),
            ("Relu", "c", "r", {}),
            ("GlobalAveragePool", "r", "p", {}),
            ("Flatten", "p", "scores", {}),
        ],
        {"data": ["batch", 3, 224, 224]},
        ["scores"],
        {"w": random(10, 3, 3, 3), "b": random(10)},
    )
    _quantize("net.onnx", "net.qdq.onnx")
    network = Network(folded(onnx.load("net.onnx")))
    to_tflite(network, Path("net.tflite"))
    to_relay(network, Path("net.relay"))
    if TORCH:
        import torch

        torch.export.save(torch.export.export(to_torch(network), (torch.zeros(1, 3, 224, 224),)), "net.pt2")
    (yaml,) = blocks("yaml")
    Path("net.yaml").write_text(yaml[1])
    Path("images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 60, 80, 3), dtype=np.uint8)
    for name, image in zip(["images/1.png", "images/2.png", "images/3.png", "cat.jpg", "dog.jpg"], pixels, strict=True):
        Image.fromarray(image).save(name)
    Path("labelled.csv").write_text("file,label\nimages/1.png,7\nimages/2.png,0\n")
    np.save("inputs.npy", random(4, 3, 224, 224))
    return tmp_path


def _quantize(network, quantized):
    class Noise(CalibrationDataReader):
        images = iter([{"data": random(1, 3, 224, 224, seed=i)} for i in range(2)])

        def get_next(self):
            return next(self.images, None)

    quantize_static(network, quantized, Noise())


def test_commands(folder, capsys):
    """Those for the embedded example are in eq_tvm/test_example_end_to_end.py."""
    if host.platform.machine() != "x86_64" or not shutil.which("aarch64-linux-gnu-g++"):
        pytest.skip("the README compiles for ARM on an x86 PC")
    commands = [
        command
        for language, text in blocks("sh", "console")
        if "./setup.sh" not in text
        for command in re.findall(_COMMAND[language], text, re.M)
    ]
    assert len(commands) == 17
    for command, error in commands:
        if ".pt2" in command and not TORCH:
            continue
        code = cli.main(shlex.split(command))
        _, printed = capsys.readouterr()
        assert code == (2 if error else 0), f"{command}\n{printed}"
        assert printed.endswith(error), command


# The command, and the error that follows it. (What is typed on the board is a console block without prompts.)
_COMMAND = {"sh": r"^python -m eq_tvm (.*)()$", "console": r"^\$ python -m eq_tvm (.*)\n(error: .*\n)"}


@pytest.mark.parametrize("text", [text for _, text in blocks("python")])
def test_python(folder, text, capsys):
    if "import torch" in text and not TORCH:
        pytest.skip("PyTorch is not installed")
    exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def _help(capsys, *command):
    assert cli.main([*command, "--help"]) == 0
    return capsys.readouterr().out


def test_options_exist(capsys):
    commands = re.findall(r"^│ (\w+) ", _help(capsys), re.M)
    assert len(commands) > 10
    known = set(re.findall(r"--[a-z][a-z-]+", "".join(_help(capsys, *each) for each in [(), *zip(commands)])))
    assert set(re.findall(r"--[a-z][a-z-]+", README)) - {"--no-deps"} <= known
    ours = "\n".join(line for line in BOARD.splitlines() if "eq_tvm" in line and not line.startswith("pip"))
    assert set(re.findall(r"--[a-z][a-z-]+", ours)) <= known


def test_targets_are_named():
    for name in load_targets():
        assert f"`{name}`" in README


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / link).exists(), link


def test_ci_runs_the_test_command():
    assert f"{TEST_COMMAND}\n" in README
    assert f"{TEST_COMMAND}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_setup_installs_the_cross_compilers_for_arm():
    packages = re.search(r"^packages=\((.*?)\)", (ROOT / "setup.sh").read_text(encoding="utf-8"), re.M)[1].split()
    assert {load_targets()[name].cross_package for name in ("rpi4", "rpi2-32")} <= set(packages)
