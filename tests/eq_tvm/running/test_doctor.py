"""`doctor` says what is there, whatever is missing or broken."""

import json
from importlib import metadata

import pytest

from eq_tvm import host
from eq_tvm.cli import main
from eq_tvm.running import doctor
from eq_tvm.targets import get_target


@pytest.fixture
def examined(monkeypatch):
    """The checks by name, where TVM is not loaded for real (`broken` is what stands for it)."""

    def run(load="print(22)"):
        monkeypatch.setattr(doctor, "_LOAD", load)
        checks = list(doctor.examine())
        return {check.name: check for check in checks if check.name != "targets"}, checks

    return run


def test_all_is_there(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("tvm             ok  loads, with LLVM ") for line in lines)
    assert any(line.startswith("processor       ok  ") for line in lines)
    assert all(line[16:20] in ("ok  ", "--  ") and (line[16:20] == "ok  " or ": " in line) for line in lines)


@pytest.mark.parametrize(
    ("load", "found"),
    [
        ("raise ImportError('libtvm.so: undefined symbol')", "does not load: ImportError: libtvm.so: undefined symbol"),
        ("import os; os.abort()", "does not load: exit code -6"),
    ],
)
def test_tvm_does_not_load(examined, monkeypatch, capsys, load, found):
    checks, _ = examined(load)
    assert checks["tvm"].found == found and checks["tvm"].needed
    assert checks["tvm"].todo == "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"
    assert main(["doctor", "--json"]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is False and printed["checks"][-1]["name"] == "tvm"


def test_tvm_takes_too_long(examined, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.01)
    assert not examined("import time; time.sleep(60)")[0]["tvm"].ok


def test_versions_that_do_not_fit(examined, monkeypatch):
    real = metadata.version
    others = {"apache-tvm-ffi": "0.1.15", "numpy": "2.0.3", "onnx": "1.100.0"}

    def version(name):
        if name in ("pillow", "torch"):
            raise metadata.PackageNotFoundError(name)
        return others.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    checks, _ = examined()
    assert checks["apache-tvm-ffi"].found == "0.1.15, which does not fit: ==0.1.14.post1 is needed"
    assert "apache-tvm-ffi==0.1.14.post1" in checks["apache-tvm-ffi"].todo
    assert checks["apache-tvm"].ok and checks["onnx"].ok
    assert not checks["numpy"].ok and not checks["pillow"].ok and checks["pillow"].todo == "pip install 'pillow>=11'"
    assert not checks["torch"].ok and not checks["torch"].needed


def test_nothing_can_be_written_and_nothing_is_installed(examined, monkeypatch):
    def nowhere():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(doctor.tempfile, "gettempdir", nowhere)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    checks, every = examined()
    assert not checks["temporary"].ok and checks["temporary"].needed and "TMPDIR" in checks["temporary"].todo
    assert not checks["cache"].ok and not checks["cache"].needed
    assert (checks["c++"].ok, checks["c++"].todo) == (False, "apt-get install g++")
    assert checks["qemu"].todo == "apt-get install qemu-user"
    foreign = "rpi4" if host.platform.machine() == "x86_64" else "x86"
    todo = f"apt-get install {get_target(foreign).cross_package}"
    assert [foreign in check.found.split(": ")[0] for check in every if check.todo == todo] == [True]


@pytest.mark.parametrize(
    ("text", "ok", "found"),
    [
        (None, True, "none yet"),
        ('{"cpu": {"a": {}, "b": {}}}', True, "2 layers measured"),
        ("[1", False, "is not what --tune writes"),
        ("[1]", False, "is not what --tune writes"),
    ],
)
def test_the_tuning_file(tmp_path, text, ok, found):
    file = tmp_path / "tuning.json"
    if text:
        file.write_text(text)
    check = doctor._tuning(file)
    assert check.ok == ok and found in check.found


def test_variables(monkeypatch):
    monkeypatch.setenv("EQ_TVM_MEMORY", "8")
    assert doctor._variables().ok
    monkeypatch.setenv("EQ_TVM_MEMROY", "8")
    assert doctor._variables().todo.startswith("EQ_TVM_MEMROY means nothing")
