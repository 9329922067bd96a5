"""Each command and each piece of Python in README.md and on the other pages runs, or is in the table of what covers it.

The blocks of a page run in order, in one directory for all pages. What has run already does not run again.
"""

from __future__ import annotations

import builtins
import re
import shlex
import shutil
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
from blocks import PAGES, ROOT, blocks, text_of
from rpc_servers import Server
from world import TORCH, write_world

from eq_tvm import cli, host

BOARD = "tests/eq_tvm/deploying/test_deploy.py"  # a way by ssh to a board
# What is not run here: page -> how a line, or a block of Python, begins ("": all) -> the test that covers it
COVERED = {
    "README.md": {
        "./setup.sh && . .venv/bin/activate && python -m eq_tvm compile": "tests/eq_tvm/test_example_end_to_end.py",
        "./setup.sh && . .venv/bin/activate": "tests/docs/test_readme.py::test_ci_sets_up_and_runs_the_test_command",
    },
    "CONTRIBUTING.md": {
        "./setup.sh": "tests/docs/test_readme.py::test_ci_sets_up_and_runs_the_test_command",
        "ruff check && ruff format --check && mypy": "tests/docs/test_readme.py::test_ci_checks",
        "mkdocs build": "tests/docs/test_site.py",
        "python -m eq_tvm compile --method half": "tests/eq_tvm/test_methods.py",  # once that method is added
    },
    "docs/formats/quantized.md": {
        "sim = QuantizationSimModel": "tests/eq_tvm/exporting/test_encodings.py",  # in AIMET
    },
    "docs/raspberry-pi.md": {
        "pip wheel": "tests/eq_tvm/deploying/test_pack.py",
        "scp": BOARD,
        "ssh": BOARD,
        "sudo apt": BOARD,
        "python3 -m venv": "tests/eq_tvm/deploying/test_pack.py",
        "pip install": "tests/eq_tvm/deploying/test_pack.py",
        "python -m tvm.exec": "tests/eq_tvm/boards/test_session.py",  # and by `servers` below
        "export TVM_USE_RUNTIME_LIB": "tests/eq_tvm/boards/test_session.py",
        "cd net-rpi4-32": "tests/eq_tvm/standalone/test_32_bit.py",
        "gcc main.c": "tests/eq_tvm/standalone/test_32_bit.py",
        "./main cat.raw": "tests/eq_tvm/standalone/test_32_bit.py",
    },
    "docs/device-farm.md": {
        "python -m tvm.exec": "tests/eq_tvm/boards/test_session.py",
        "python -m eq_tvm compile": "tests/eq_tvm/boards/test_tune.py",
        "python -m eq_tvm evaluate net-native.eqtvm --data labelled.csv --reference net.onnx --dask": (
            "tests/eq_tvm/evaluating/test_dask_workers.py"
        ),
    },
    "docs/standalone.md": {"": "tests/docs/test_standalone_docs.py"},
    "docs/using/command-line.md": {"": "tests/docs/test_command_line_docs.py"},
    "docs/using/deploy.md": {"": "tests/docs/test_deploy_docs.py"},
    "docs/using/tasks.md": {"": "tests/docs/test_tasks_docs.py"},
    "docs/using/training.md": {  # hundreds of images
        "python -m eq_tvm train": "tests/eq_tvm/train/test_train.py::test_on_the_command_line",
        "python -m eq_tvm compile": "tests/eq_tvm/train/test_train.py::test_the_bundle_computes_what_was_trained",
        "from eq_tvm.train.train import train": "tests/eq_tvm/train/test_train.py::test_a_network_of_pytorch",
        "(cd benchmarks": "benchmarks/methods/training.py",
    },
    "docs/using/lost-accuracy.md": {  # of trained networks
        "python -m eq_tvm analyze resnet20_cifar10.onnx": "tests/eq_tvm/test_analysis.py",
        "python -m eq_tvm compile mobilenetv2_tiny_cifar10.onnx": "tests/eq_tvm/test_analysis.py",
    },
    "docs/tutorials/detector.md": {
        "pip download": "benchmarks/shipped/package.py",  # the same file
        "python -m zipfile": "benchmarks/shipped/package.py",
    },
}
# On a page, what is put in the place of what: boards, which are not here, large images, and what others still need
INSTEAD = {
    "docs/raspberry-pi.md": {
        r"--target rpi4$": "--target native --output net-board.eqtvm",
        r"net-rpi4\.eqtvm": "net-board.eqtvm",
    },
    "docs/device-farm.md": {r"net-rpi4\.eqtvm": "net-native.eqtvm"},
    "docs/tutorials/detector.md": {r"480, ?640": lambda size: size[0].replace("480", "48").replace("640", "64")},
    "docs/tutorials/first-network.md": {r'"net\.onnx"': '"exported.onnx"'},
}
# Recipes, which are read where the code would stand: how they begin -> the module
WITHIN = {
    "import tvm\n\nfrom ..quantized": "eq_tvm.passes.calibrate.minmax_calibrate",
    "def tile(": "eq_tvm.passes.lower.rules.moves",
    "def vpdpbssd(": "eq_tvm.schedules.processor.x86",
}
# Options that keep measuring short
SHORTER = {"bench": "--seconds 0.02", "compare": "--seconds 0.02"}
SOMETIMES = {"optimize", "compared"}  # lines that not every network has


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The directory, and what each command printed."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_world(folder)
        for target in ("native", "rpi4"):  # for pages that begin with a bundle
            quick = ["--calibration", "images", "--preprocess", "net.yaml", "--method", "minmax", "--no-verify"]
            assert cli.main(["compile", "net.onnx", *quick, "--target", target]) == 0
    return SimpleNamespace(folder=folder, printed={})


@pytest.fixture
def here(world, monkeypatch):
    monkeypatch.chdir(world.folder)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    if host.platform.machine() != "x86_64" or not shutil.which("aarch64-linux-gnu-g++"):
        pytest.skip("the pages compile for ARM on an x86 PC")
    return world


@pytest.fixture
def servers(here, tmp_path):
    """What the page of the Raspberry Pi starts, on free ports of this machine."""
    with (
        Server("rpc_server", tmp_path / "server") as server,
        Server("rpc_tracker", tmp_path / "tracker") as tracker,
        Server("rpc_server", tmp_path / "other", "--tracker", tracker.address, "--key", "rpi4"),
    ):
        tracker.wait_for_board()
        yield {"127.0.0.1:9090": server.address, "192.168.0.2:9190": tracker.address}


def runs(page):
    return any(block.language in ("sh", "console", "python") for block in blocks(page))


def covering(page, text):
    """The test in the table, and the table's key."""
    found = [key for key in COVERED.get(page, {}) if text.startswith(key)]
    return max(found, key=len) if found else None


@pytest.mark.parametrize("page", [page for page in PAGES if runs(page) and "" not in COVERED.get(page, {})])
def test_blocks(page, here, request, capsys):
    instead = dict(INSTEAD.get(page, {}))
    if re.search(r"(192\.168|127\.0)\.0\.\d:9", text_of(page)):
        instead |= {re.escape(address): there for address, there in request.getfixturevalue("servers").items()}

    def adapted(text):
        for pattern, there in instead.items():
            text = re.sub(pattern, there, text, flags=re.M)
        return text

    out = ""
    for block in blocks(page):
        if block.language in ("yaml", "text") and not page.startswith("CONTRIBUTING"):
            (here.folder / block.file).write_text(adapted(block.text))
        elif block.language == "python" and covering(page, block.text) is None:
            python(page, adapted(block.text))
            capsys.readouterr()
        elif block.language in ("sh", "console"):
            for command, shown in block.commands:
                if command and covering(page, command) is None:
                    out = line(here, adapted(command), shown, capsys)
                if not shown.startswith("error: ") and covering(page, command) in (None, ""):
                    assert said(shown) <= said(out) | SOMETIMES, f"{page}: {command}\n{out}"


def said(text):
    """The first word of each line that does not begin with a number."""
    return set(re.findall(r"^ *([a-zA-Z][\w.-]*) ", text, re.M)) - {"us"}


def line(world, command, shown, capsys):
    """Run a line of a shell, or check what can't be run."""
    words = shlex.split(command)
    if words[:3] != ["python", "-m", "eq_tvm"]:
        check_other(command)
        return ""
    if command not in world.printed:
        error = shown if shown.startswith("error: ") else ""
        more = [] if error else SHORTER.get(words[3], "").split()
        if not TORCH and ".pt2" in command:
            return ""
        code = cli.main([*words[3:], *(more if more[:1] and more[0] not in words else [])])
        out, err = capsys.readouterr()
        assert code == (2 if error else 0), f"{command}\n{err}"
        assert err.endswith(error), command
        world.printed[command] = out
    return world.printed[command]


def check_other(command):
    """Of commands that take hours or change this machine: what they name exists."""
    words = [word for word in shlex.split(command.removeprefix("(").rstrip(")")) if "=" not in word or "-" in word[0]]
    if words[:3] == ["cd", "benchmarks;", "python"]:
        words = ["python", f"benchmarks/{words[4].replace('.', '/')}.py", *words[5:]]
    match words:
        case ["python", "-m", "pytest", *arguments]:
            assert all((ROOT / each).exists() for each in arguments if each.startswith("tests"))
        case ["python", script, *arguments] if script.startswith("benchmarks/"):
            options = {each for each in arguments if each.startswith("--")}
            assert options <= set(re.findall(r"--[\w-]+", (ROOT / script).read_text(encoding="utf-8"))), command
        case ["pip", "install", *arguments]:
            extras = re.findall(r"\[(\w+)\]", " ".join(arguments))
            listed = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
            assert extras and set(extras) <= set(listed), command
        case _:
            pytest.fail(f"neither run nor in the table: {command}")


def python(page, text):
    if ("import torch" in text or "torch." in text) and not TORCH:
        return
    for begins, module in WITHIN.items():
        if text.startswith(begins):
            return read_within(text, import_module(module))
    code = compile(text, page, "exec")
    with pytest.MonkeyPatch.context() as patch:
        if "torchvision" in text:
            patch.setitem(sys.modules, "torchvision", _torchvision())
        exec(code, {"__name__": "__main__"})


def read_within(text, module):
    """A piece of code, as a part of a module: all names that it uses are there."""
    names = dict(vars(module))
    exec(compile("from __future__ import annotations\n" + text, module.__name__, "exec"), names)

    def used(code):
        yield from code.co_names
        for each in code.co_consts:
            if hasattr(each, "co_names"):
                yield from used(each)

    attributes = set(re.findall(r"\.(\w+)", text))
    (defined,) = (names[name] for name in re.findall(r"^(?:def|class) (\w+)", text, re.M))
    if hasattr(defined, "__code__"):
        assert set(used(defined.__code__)) - attributes <= names.keys() | vars(builtins).keys()


def _torchvision():
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 10, 3, stride=8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    return SimpleNamespace(
        models=SimpleNamespace(
            MobileNet_V3_Small_Weights=SimpleNamespace(DEFAULT=None),
            mobilenet_v3_small=lambda weights: torch.nn.Sequential(network, torch.nn.Flatten()),
        )
    )


@pytest.mark.parametrize("page", COVERED)
def test_table(page):
    """What the table says is on its page, and the tests that it names exist."""
    lines = [command for block in blocks(page, "sh", "console") for command, _ in block.commands]
    lines += [block.text for block in blocks(page, "python")]
    assert set(COVERED[page]) == {covering(page, each) for each in lines} - {None}
    for test in COVERED[page].values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") if name else (ROOT / file).exists(), test
    if "" in COVERED[page]:  # that test reads the page
        assert f'"{page}"' in (ROOT / COVERED[page][""]).read_text(encoding="utf-8")
