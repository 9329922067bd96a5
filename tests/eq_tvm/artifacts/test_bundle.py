"""Bundles: written whole or not at all, and checked when they are read."""

import json

import pytest
from tiny import write_tiny

from eq_tvm.artifacts import bundle as bundles
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
        (photos, "photos is a directory but not a bundle"),
        (tmp_path / "file", "file is a file"),
        (tmp_path / "none" / "new", "the directory .*none for the bundle does not exist"),
    ]:
        with pytest.raises(UserError, match=message):
            bundles.write(tiny, path, lambda file: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "photos", "tiny.eqtvm"]


def test_missing(tiny):
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


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": "1"}', '{"schema": 1}', '{"schema": 1, "files": 3}'])
def test_damaged_description(tiny, text):
    (tiny.path / "bundle.json").write_text(text)
    with pytest.raises(UserError, match=r"is damaged: bundle.json .*; compile it again"):
        bundles.read(tiny.path)
