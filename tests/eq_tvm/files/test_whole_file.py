"""Files that are there whole, as they were, or not at all."""

import os

import pytest

from eq_tvm.errors import UserError
from eq_tvm.files.whole_file import check_destination, write_whole


def write(file):
    file.write(b"new")


def fail(file):
    file.write(b"half")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["a.bin", "x" * 255, "日本語" * 20])
def test_written(tmp_path, name):
    umask = os.umask(0)
    os.umask(umask)
    path = check_destination(tmp_path / name)
    write_whole(path, write)
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failure_leaves_all_as_it_was(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", fail)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", fail)
    with pytest.raises(OSError, match=r"."):
        write_whole("/proc/a", write)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"] and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path, there):
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to("target")
    if there:
        target.write_bytes(b"old")
    assert check_destination(tmp_path / "link") == target
    write_whole(tmp_path / "link", write)
    assert target.read_bytes() == b"new" and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/null", "can't write /dev/null: there is something that is no file"),
        (".", "there is something that is no file; choose another --output"),
        ("none/a", "the directory .*none for the a does not exist"),
        ("/proc/a", "can't write in /proc: ."),
        ("file/a", r"the directory .*file for the a does not exist|Not a directory"),
        ("x" * 256, "File name too long"),
    ],
)
def test_where_nothing_can_be_written(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        check_destination(tmp_path / name)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_must_not_be_replaced(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"a network")
    (tmp_path / "link.npz").symlink_to(tmp_path / "in.npz")
    (tmp_path / "in.npz").write_bytes(b"an input")
    with pytest.raises(UserError, match=r"the output must end with \.html or \.htm, not .*net\.onnx"):
        check_destination(tmp_path / "net.onnx", endings=(".html", ".htm"))
    for name in ("in.npz", "link.npz"):
        with pytest.raises(UserError, match="would replace an input"):
            check_destination(tmp_path / name, inputs=[None, tmp_path / "none.npz", tmp_path / "in.npz"])
    for name in ("bundle.json", "model.so"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="is inside of a bundle"):
        check_destination(tmp_path / "page.html")
