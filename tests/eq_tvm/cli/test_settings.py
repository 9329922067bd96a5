"""eq_tvm.yaml: what it gives, what goes before it, and what it must not hold."""

import re
from pathlib import Path

import pytest

from eq_tvm import compiler
from eq_tvm.cli import supervisor
from eq_tvm.cli.settings import FILE, read_settings
from eq_tvm.errors import UserError
from eq_tvm.options.declared import SCHEMES, CompileOptions
from eq_tvm.options.option import options_of

OPTIONS = options_of(CompileOptions)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def compiled_with(cli, folder, monkeypatch):
    """What `compile` asks for, with a file and a command line."""

    def run(text, *arguments):
        (folder / FILE).write_text(text)
        asked = {}

        def note(**options):
            asked.update(options)
            raise UserError("noted")

        monkeypatch.setattr(compiler, "compile", note)
        code, _, err = cli("compile", *arguments)
        assert code == 2 and err.startswith("error: noted"), err
        return asked, err

    return run


def test_each_option_by_its_name(folder):
    (folder / FILE).write_text(
        "{model: n.onnx, keep: {a/b: float}, input: {x: [1, 3]}, constant: {sr: 16000}, min-cosine: 1, tune: true,"
        " verify: false, images: 20, targets: mine.yaml, target: own}"
    )
    assert read_settings(OPTIONS) == {
        "model": Path("n.onnx"),
        "keep": ["a/b=float"],
        "input_shapes": ["x=1,3"],
        "constants": ["sr=16000"],
        "min_cosine": 1,
        "tune": True,
        "verify": False,
        "images": 20,
        "targets_file": Path("mine.yaml"),
        "target": "own",
    }


def test_no_file_and_an_empty_mapping(folder, compiled_with):
    assert read_settings(OPTIONS) == {}
    asked, err = compiled_with("{}")
    assert asked["model"] is None and asked["target"] == "native" and err == "error: noted\n"


def test_the_command_line_goes_before(compiled_with):
    text = "{model: a.onnx, target: rpi4, verify: false, keep: {x: float}, optimize: size, method: minmax}"
    asked, err = compiled_with(text, "b.onnx", "--target", "native", "--verify", "--optimize", "speed")
    assert asked["model"] == Path("b.onnx") and asked["verify"] is True
    assert asked["target"] == "native" and asked["optimize"] == "speed"  # though these are the defaults
    assert asked["keep"] == {"x": "float"} and asked["method"] == "minmax"
    assert err == f"error: noted ({FILE} gives method, keep)\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targt: x86", "has the unknown key targt; there are: model, calibration"),
        ("min_cosine: 0.9", "has the unknown key min_cosine"),
        ("3: x86", "has the unknown key 3"),
        ("", "must map options of compile to their values"),
        ("[target]", "must map options of compile to their values"),
        ("scheme: int9", f": scheme must be one of {', '.join(SCHEMES)}, not int9"),
        ("scheme:", ": scheme must be text, not None"),
        ("target: 3", ": target must be text, not 3"),
        ("images: many", ": images must be a whole number, not 'many'"),
        ("images: true", ": images must be a whole number, not True"),
        ("tune: 1", ": tune must be true or false, not 1"),
        ("max-drop: a", ": max-drop must be a number, not 'a'"),
        ("calibration: [a]", ": calibration must be a path, not ['a']"),
        ("keep: a=float", ": keep must be a mapping, not 'a=float'"),
        ("input: {x: [a]}", ": input: --input must look like NAME=1,3,224,224, not x=a"),
        ("target: {", "is not valid YAML"),
    ],
)
def test_what_it_must_not_hold(refused, folder, text, message):
    (folder / FILE).write_text(text)
    refused(FILE, "compile")
    with pytest.raises(UserError, match=re.escape(message)):
        read_settings(OPTIONS)


def test_large_files_are_allowed_for(folder, monkeypatch):
    set_to = []
    monkeypatch.delenv(supervisor.MEMORY, raising=False)
    monkeypatch.setattr(supervisor.resource, "getrlimit", lambda _: (1 << 32, supervisor.resource.RLIM_INFINITY))
    monkeypatch.setattr(supervisor.resource, "setrlimit", lambda _, limits: set_to.append(limits[0]))
    (folder / "net.onnx").write_bytes(bytes(1000))
    (folder / FILE).write_text("model: net.onnx")
    read_settings(OPTIONS)
    assert set_to == [(1 << 32) + supervisor.PER_BYTE * 1000]


def test_other_commands_do_not_read_it(cli, folder):
    (folder / FILE).write_text("nonsense: 1")
    assert cli("targets")[0] == 0
    assert cli("compile", "--help")[0] == 0
