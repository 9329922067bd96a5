"""Bundles: written whole or not at all, and checked when they are read."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny import write_tiny

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts import directory
from eq_tvm.errors import UserError


def left_over(path):
    """What is in the directory beside the bundle."""
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def change_description(bundle, **changes):
    file = bundle.path / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_round_trip(tiny):
    assert bundles.read(tiny.path) == tiny
    assert sorted(p.name for p in tiny.path.iterdir()) == ["bundle.json", "model.so"]
    assert left_over(tiny.path) == []


def test_replaces_a_bundle(tiny, tiny_executable):
    again = write_tiny(tiny.path, tiny_executable, model="again")
    assert bundles.read(tiny.path) == again and left_over(tiny.path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_all_as_it_was(tiny, error):
    def fail(file):
        raise error("no linker")

    with pytest.raises(error):
        bundles.write(tiny, tiny.path, fail)
    assert bundles.read(tiny.path) == tiny
    with pytest.raises(error):
        bundles.write(tiny, tiny.path.with_name("new"), fail)
    assert left_over(tiny.path) == []


def test_does_not_overwrite_what_is_no_bundle(tmp_path, tiny):
    photos = tmp_path / "photos"
    photos.mkdir()
    assert bundles.check_destination(photos) == photos  # still empty
    (photos / "cat.jpg").touch()
    (tmp_path / "file").touch()
    for path, message in [
        (photos, "photos is a directory with cat.jpg, which is not of a bundle"),
        (tmp_path / "file", "file is a file"),
        (tmp_path / "none" / "new", "the directory .*none for the bundle does not exist"),
    ]:
        with pytest.raises(UserError, match=message):
            bundles.write(tiny, path, lambda file: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "photos", "tiny.eqtvm"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/proc", "/proc is a mount point, which can't be replaced: choose a directory in it"),
        ("/proc/b", "can't write in /proc: ."),
        ("x" * 256, "can't write the bundle .*: File name too long"),
    ],
)
def test_where_no_bundle_can_be(tmp_path, path, message):
    with pytest.raises(UserError, match=message):
        bundles.check_destination(tmp_path / path)
    assert left_over(tmp_path / "b") == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("bundle.json", "{}", "with bundle.json,"),  # as projects in JavaScript have it
        ("bundle.json", '{"files": {"bundle.json": 1}}', "with bundle.json,"),
        ("bundle.json", "[" * 5000, "with bundle.json,"),
        (".git", "", "with .git,"),
        ("model.so", "", "with model.so,"),
        ("model.so/file", "", "with model.so,"),
    ],
)
def test_replaces_only_what_is_wholly_a_bundle(tmp_path, name, text, said):
    file = tmp_path / "project" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(UserError, match=f"project is a directory {said} which is not of a bundle"):
        bundles.check_destination(tmp_path / "project")
    assert file.read_text() == text


def test_a_bundle_with_a_file_of_somebody(tiny):
    (tiny.path / "labels.txt").write_text("cat")
    with pytest.raises(UserError, match=r"with labels\.txt, which is not of a bundle: it is not overwritten"):
        bundles.write(tiny, tiny.path, lambda file: None)
    assert (tiny.path / "labels.txt").read_text() == "cat" and bundles.read(tiny.path) == tiny


def test_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for path in (tmp_path / "in", "..", tmp_path):
        with pytest.raises(UserError, match="has in it, the directory that this runs in"):
            bundles.check_destination(path)


def test_a_bundle_that_a_killed_process_moved_aside(tiny):
    """Where the file system can't exchange directories in one step, there is a moment without a bundle."""
    script = (
        "import os, signal, sys; from pathlib import Path; from eq_tvm.artifacts import directory\n"
        "Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rename = os.rename\n"
        "directory._exchange = lambda new, path: rename(path, new.parent / 'old0')\n"
        "with directory.replacing(Path(sys.argv[1]), 'bundle'): pass"
    )
    assert subprocess.run([sys.executable, "-c", script, tiny.path]).returncode == -9
    assert not tiny.path.exists() and len(list(tiny.path.parent.glob(".eq_tvm-*/old0"))) == 1
    assert bundles.read(tiny.path) == tiny and left_over(tiny.path) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path, tiny_executable, there):
    if there:
        write_tiny(tmp_path / "target", tiny_executable, model="before")
    (tmp_path / "link").symlink_to("target")
    written = write_tiny(tmp_path / "link", tiny_executable)
    assert bundles.read(tmp_path / "target").model == "tiny" and written.path == tmp_path / "target"
    assert (tmp_path / "link").is_symlink() and left_over(tmp_path / "link") == ["target"]


def test_a_long_name(tmp_path, tiny_executable):
    assert write_tiny(tmp_path / ("x" * 255), tiny_executable).path.is_dir()


@pytest.mark.parametrize("exchange", [True, False])
def test_several_writers_of_one_place(tmp_path, monkeypatch, exchange):
    if not exchange:  # as some file systems have it
        monkeypatch.setattr(directory, "_exchange", lambda *_: False)

    def write_often(_):
        for _ in range(100):
            with directory.replacing(tmp_path / "b", "bundle") as new:
                (new / "file").touch()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_often, range(4)))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["file"] and left_over(tmp_path / "b") == []


def test_missing(tiny):
    with pytest.raises(UserError, match=r"can't read .*: File name too long"):
        bundles.read("x" * 300)
    with pytest.raises(UserError, match=r"no such bundle: .*none"):
        bundles.read(tiny.path.with_name("none"))
    tiny.library.unlink()
    with pytest.raises(UserError, match=r"incomplete: can't read model\.so: No such file"):
        bundles.read(tiny.path)
    (tiny.path / "bundle.json").unlink()
    with pytest.raises(UserError, match=r"no bundle, or incomplete: can't read bundle\.json: No such file"):
        bundles.read(tiny.path)


def test_altered_library(tiny):
    with tiny.library.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"was altered: model\.so has another SHA-256"):
        bundles.read(tiny.path)


def test_altered_description(tiny):
    change_description(tiny, scheme="int7")
    with pytest.raises(UserError, match=r"was altered: bundle\.json has another SHA-256"):
        bundles.read(tiny.path)


def test_newer_schema(tiny):
    change_description(tiny, schema=bundles.SCHEMA + 1, files="something new")
    with pytest.raises(UserError, match=r"has schema 2, newer than this eq_tvm reads \(1\): update"):
        bundles.read(tiny.path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": "1"}', '{"schema": 1}', '{"schema": 1, "files": 3}', "[" * 100000]
)
def test_damaged_description(tiny, text):
    (tiny.path / "bundle.json").write_text(text)
    with pytest.raises(UserError, match=r"is damaged: .*bundle.json.*; compile it again"):
        bundles.read(tiny.path)
