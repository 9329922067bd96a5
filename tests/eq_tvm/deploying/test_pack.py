"""The archive for a board, and the wheel in it."""

import base64
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import eq_tvm
from eq_tvm import cli
from eq_tvm.deploying.pack import collect, pack
from eq_tvm.deploying.wheel import wheel
from eq_tvm.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def test_the_same_bytes_each_time(small_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["pack", str(small_bundle)]) == 0
    assert capsys.readouterr().out.startswith("written: net-native.tar.gz (")
    assert Path("net-native.tar.gz").read_bytes() == pack(small_bundle, "again.tgz").read_bytes()
    with tarfile.open("net-native.tar.gz") as archive:
        members = archive.getmembers()
        names = [member.name for member in members]
        texts = {
            name: archive.extractfile(f"net-native/{name}").read().decode()
            for name in ("requirements.txt", "README.txt")
        }
    assert names == sorted(names) and {(m.mtime, m.uid, m.uname, m.mode) for m in members} == {
        (315532800, 0, "", 0o644)
    }
    assert {name.removeprefix("net-native/") for name in names} == {
        *(f"net-native.eqtvm/{file.name}" for file in small_bundle.iterdir()),
        *texts,
        wheel()[0],
    }
    assert (
        f"./{wheel()[0]}\n" in texts["requirements.txt"]
        and "apache-tvm-ffi==0.1.14.post1\n" in texts["requirements.txt"]
    )
    assert all("==" in line or line.startswith("./") for line in texts["requirements.txt"].splitlines())
    assert ".venv/bin/python -m eq_tvm verify net-native.eqtvm\n" in texts["README.txt"]


def test_the_wheel_has_all_that_is_installed():
    name, content = wheel()
    assert (name, content) == wheel()
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        files = {entry: whole.read(entry) for entry in whole.namelist()}
    folder = name.removesuffix("-py3-none-any.whl") + ".dist-info"
    for path, digest, size in csv.reader(files[f"{folder}/RECORD"].decode().splitlines()):
        if digest:
            found = base64.urlsafe_b64encode(hashlib.sha256(files[path]).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={found}", len(files[path]))
    assert files["eq_tvm/targets.yaml"] == (ROOT / "targets.yaml").read_bytes()
    assert (
        b"Name: eq-tvm\n" in files[f"{folder}/METADATA"]
        and b"eq_tvm.boards.on_board" in files[f"{folder}/entry_points.txt"]
    )
    for path in (
        "eq_tvm/passes/__init__.py",
        "eq_tvm/schedules/__init__.py",
        "eq_tvm/standalone/companions/eq_model.hpp",
    ):
        assert path in files
    installed = subprocess.run(
        ["git", "ls-files", "eq_tvm", "passes", "schedules"], cwd=ROOT, capture_output=True, text=True
    )
    if installed.returncode == 0:  # in a clone
        names = {line if line.startswith("eq_tvm") else f"eq_tvm/{line}" for line in installed.stdout.splitlines()}
        assert names <= files.keys()


@pytest.mark.exhaustive
def test_the_two_commands(small_bundle, tmp_path):
    """As README.txt has them, in an environment with nothing: takes pip's packages."""
    with tarfile.open(pack(small_bundle, tmp_path / "net.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "net-native"
    venv.create(folder / ".venv", with_pip=True)
    text = (folder / "README.txt").read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ") and "IMAGE" not in line]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(["sh", "-ec", command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "it computes what it did when it was compiled, bit for bit" in done.stdout
    where = [".venv/bin/python", "-c", "import eq_tvm; print(eq_tvm.__file__)"]
    assert ".venv" in subprocess.run(where, cwd=folder, check=True, capture_output=True, text=True).stdout
    assert sys.prefix not in where


def test_what_is_refused(small_bundle, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"--output must end with \.tar\.gz, not net\.zip"):
        pack(small_bundle, "net.zip")
    with pytest.raises(UserError, match="no such bundle: none"):
        collect("none")
    (tmp_path / "a.tar.gz").mkdir()
    with pytest.raises(UserError, match=r"can't write .*a\.tar\.gz: there is something that is no file"):
        pack(small_bundle, tmp_path / "a.tar.gz")
    bundle = eq_tvm.artifacts.bundle.read(small_bundle)
    bundle.target["architecture"] = "armv7l"
    monkeypatch.setattr("eq_tvm.artifacts.bundle.read", lambda path: bundle)
    with pytest.raises(UserError, match="for which TVM has no packages: compile it with --artifact standalone"):
        collect(small_bundle)
