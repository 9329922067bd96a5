"""What docs/using/command-line.md says is true: its commands run, and print the JSON keys that it lists."""

import json
import re
import shlex

import numpy as np
import pytest
from blocks import blocks, commands, text_of
from onnx_models import random, write_model
from PIL import Image

from eq_tvm import cli
from eq_tvm.cli.settings import FILE
from eq_tvm.options.declared import CompileOptions
from eq_tvm.options.option import options_of

PAGE = "docs/using/command-line.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text_of(PAGE), re.M | re.S))
KEYS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", SECTIONS["JSON"], re.M))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The files that the page speaks of."""
    folder = tmp_path_factory.mktemp("project")
    write_model(
        folder / "net.onnx",
        [
            ("Conv", "data w b", "c", {"pads": [1] * 4}),
            ("Conv", "c v d", "e", {"pads": [1] * 4, "group": 8}),
            ("Relu", "e", "r", {}),
            ("GlobalAveragePool", "r", "p", {}),
            ("Flatten", "p", "scores", {}),
        ],
        {"data": ["batch", 3, 24, 24]},
        ["scores"],
        {"w": random(8, 3, 3, 3), "b": random(8), "v": random(8, 1, 3, 3), "d": random(8)},
    )
    (folder / "net.yaml").write_text("{channels: RGB, mean: [128, 128, 128], std: [64, 64, 64], resize: [24, 24]}")
    (folder / "images").mkdir()
    for name, image in zip(
        ["images/1.png", "images/2.png", "images/3.png", "cat.jpg"],
        np.random.default_rng(0).integers(0, 256, (4, 30, 40, 3), dtype=np.uint8),
        strict=True,
    ):
        Image.fromarray(image).save(folder / name)
    (folder / "labelled.csv").write_text("file,label\nimages/1.png,7\nimages/2.png,0\n")
    (folder / FILE).write_text(blocks(PAGE, "yaml")[0].text)
    return folder


@pytest.fixture
def said(project, monkeypatch, capsys):
    """Run a command; give what it prints."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")

    def run(*arguments):
        code = cli.main(list(arguments))
        out, err = capsys.readouterr()
        assert code == 0, f"{arguments}\n{err}"
        return out

    return run


def test_commands_and_their_json(said):
    printed = {}
    for command in commands(PAGE):
        printed[command] = said(*shlex.split(command))
    assert len(printed) == 18

    first = next(out for command, out in printed.items() if command.startswith("compile net.onnx"))
    assert "settings     scheme, target from eq_tvm.yaml" in first and re.search(
        r"^kernels +.*1 depthwise$", first, re.M
    )
    second = printed["compile --scheme int7"]
    assert "settings     model, calibration, preprocess, target, output from eq_tvm.yaml" in second
    assert re.search(r"^scheme +int7", second, re.M)

    bundle = ("net.eqtvm",)
    missing = {
        "analyze": (*bundle, "--json"),
        "verify": (*bundle, "--json"),
        "evaluate": (*bundle, "--data", "labelled.csv", "--json"),
        "bench": (*bundle, "--seconds", "0.05", "--json"),
        "export": (*bundle, "again.onnx", "--json"),
        "pack": (*bundle, "--json"),
        "compare": (*bundle, "--data", "labelled.csv", "--seconds", "0.05", "--json"),
    }
    results = {words.split()[0]: out for words, out in printed.items() if words.endswith("--json")}
    results |= {command: said(command, *rest) for command, rest in missing.items()}
    assert results.keys() == KEYS.keys()
    for command, out in results.items():
        assert out.count("\n") == 1
        for key in _keys(json.loads(out)) - {"data", "scores"}:
            assert f"`{key}`" in KEYS[command] or command in ("analyze", "targets"), (command, key)
    compiled = json.loads(results["compile"])
    assert compiled["settings"] == ["model", "calibration", "preprocess", "scheme", "target", "output"]
    assert sum(compiled["kernels"].values()) == len(compiled["layers"]) == 2
    (run,) = json.loads(results["run"])
    scores = [each["score"] for each in run["outputs"]["scores"]["top"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 5 and all(isinstance(s, float) for s in scores)
    assert json.loads(results["doctor"])["ok"] is True
    assert {"rpi4", "native"} <= {target["name"] for target in json.loads(results["targets"])}


def _keys(value):
    """Those of the line, and of what is in its lists."""
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return set(value) if isinstance(value, dict) else set()


def test_every_command_takes_json(said):
    listed = re.findall(r"^│ (\w+) ", said("--help"), re.M)
    assert len(listed) >= len(KEYS)
    for command in listed:
        assert "--json" in said(command, "--help"), command


def test_environment_variables_are_known():
    from eq_tvm.cli.supervisor import DEBUG, MEMORY
    from eq_tvm.running.doctor import KNOWN_VARIABLES

    assert sorted(KNOWN_VARIABLES) == sorted([DEBUG, MEMORY])
    assert set(re.findall(r"EQ_TVM_\w+", SECTIONS["Environment"])) == set(KNOWN_VARIABLES)


def test_settings_are_options():
    names = {option.flag.removeprefix("--") or option.name for option in options_of(CompileOptions)}
    block = blocks(PAGE, "yaml")[0].text
    assert set(re.findall(r"^(\w+):", block, re.M)) <= names
