"""What shells and terminals get: words to complete, and colours only where they are wanted."""

import os
import pty
import re
import subprocess
import sys

import pytest

COLOUR = rb"\x1b\[(?:\d+;)*3\d(?:;\d+)*m"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", {"compile", "doctor", "targets"}),
        ("compile --target rpi", {"rpi3", "rpi4", "rpi5"}),
        ("compile --scheme int", {"int6", "int7", "int8"}),
        ("analyze --method minm", {"minmax", "minmax+"}),
        ("compile --optimize si", {"size"}),
        ("compile --max", {"--max-drop"}),
    ],
)
def test_completion(cli, folder, monkeypatch, typed, words):
    monkeypatch.setenv("_EQ_TVM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"eq-tvm {typed}")
    monkeypatch.setenv("COMP_CWORD", str(max(1, len(typed.split()))))
    code, out, err = cli()
    assert code == 0 and words <= set(out.split()), err
    assert all(word.startswith(typed.split(" ")[-1]) for word in out.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_of_the_installed_program(cli, folder, shell):
    code, out, _ = cli("--show-completion", shell)
    assert code == 0 and "eq-tvm" in out and "_EQ_TVM_COMPLETE" in out and "python -m" not in out


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal(variables, coloured):
    assert bool(re.search(COLOUR, _on_a_terminal(variables, "compile", "--help"))) == coloured


def test_no_colours_elsewhere(cli, folder, monkeypatch):
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"):  # which ask for them anywhere
        monkeypatch.delenv(name, raising=False)
    code, out, err = cli("compile", "--help")
    assert code == 0 and "\x1b" not in out + err


@pytest.mark.parametrize(
    ("package", "command", "way_out"),
    [("tvm", "compile", "python -m eq_tvm doctor says"), ("numpy", "targets", "pip install . in a clone")],
)
def test_a_library_that_does_not_load(tmp_path, package, command, way_out):
    (tmp_path / f"{package}.py").write_text("raise ImportError('libfoo.so: cannot open shared object file')")
    done = subprocess.run(
        [sys.executable, "-m", "eq_tvm", command],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: can't load what eq_tvm needs: libfoo.so: cannot open shared object file; ")
    assert way_out in done.stderr and done.stderr.count("\n") == 1


def _on_a_terminal(variables, *command):
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "PYTHONPATH")}
    pid, terminal = pty.fork()
    if not pid:
        program = [sys.executable, "-m", "eq_tvm", *command]
        os.execvpe(sys.executable, program, {**environment, "TERM": "xterm-256color", **variables})
    out = b""
    try:
        while part := os.read(terminal, 65536):
            out += part
    except OSError:  # Linux says so when the other side has closed it
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return out
