"""What docs/using/deploy.md says works: its commands, with a board on loopback."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from blocks import ROOT, commands, text_of
from PIL import Image

from eq_tvm import cli
from eq_tvm.cli.commands import app

PAGE = "docs/using/deploy.md"
TEXT = text_of(PAGE)


def of(name):
    """The commands of a subcommand, as words."""
    return [shlex.split(each) for each in commands(PAGE) if each.startswith(name)]


@pytest.fixture
def folder(small_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_bundle, "net-rpi4.eqtvm")
    Image.new("RGB", (24, 20), "orange").save("cat.png")
    return tmp_path


def test_deploy(board, folder, capsys):
    for arguments in of("deploy"):
        arguments[2] = board.name  # for pi@raspberrypi.local
        assert cli.main([*arguments, "--port", str(board.port), "--directory", str(board.home)]) == 0
        printed = capsys.readouterr().out.splitlines()
        shown = re.search(r"^board .*?(?=^```)", TEXT, re.M | re.S)[0].splitlines()
        assert [line.split()[0] for line in printed] == [line.split()[0] for line in shown]
        assert printed[1] == shown[1]


def test_pack(folder):
    for arguments in of("pack"):
        assert cli.main(arguments) == 0
    assert Path("net-rpi4.tar.gz").read_bytes() == Path("board.tar.gz").read_bytes()


def test_options():
    (deploy,) = (each for each in app.registered_commands if each.callback.__name__ == "deploy")
    for option in re.findall(r"^\| `--(\w+)", TEXT, re.M):
        assert option in deploy.callback.__annotations__ or option == "json"


def test_errors_are_those_that_one_gets():
    sources = "".join(
        re.sub(r'"\s*f?"', "", file.read_text(encoding="utf-8"))
        for file in (ROOT / "eq_tvm" / "deploying").glob("*.py")
    )
    for said in ("no host of that name", "nothing listens there", "its key is not known here", "its disk is full"):
        assert f"`{said}`" in TEXT and said in sources
