"""One line says what is missing."""

import subprocess
import sys

import pytest

SAID = "training needs PyTorch: pip install"


class Hiding:
    """What finds all modules that another finder does, but PyTorch."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name == "torch" else self.finder.find_spec(name, path, target)


def test_on_the_command_line(cli, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [Hiding(finder) for finder in sys.meta_path])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    code, stdout, stderr = cli("train")
    assert code == 2 and not stdout and stderr.startswith(f"error: {SAID}") and stderr.count("\n") == 1


def test_in_python():
    hidden = "import sys; sys.modules['torch'] = None; import eq_tvm.train"
    found = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=100)
    assert found.stderr.strip().splitlines()[-1].startswith(f"ModuleNotFoundError: {SAID}")


@pytest.fixture
def folder(tmp_path):
    return tmp_path
