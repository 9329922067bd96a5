"""A FIFO, a directory or a device where a file should be: an error, and no waiting."""

import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eq_tvm import data
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.building.tuning import Tuner
from eq_tvm.data import read_array, read_arrays
from eq_tvm.errors import UserError
from eq_tvm.files.regular_file import read_file, read_text
from eq_tvm.importer import import_onnx
from eq_tvm.importer.relay import reader
from eq_tvm.preprocess import Preprocess


@pytest.fixture(autouse=True)
def no_waiting():
    def late(*_):
        raise AssertionError("it waits")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.fixture
def fifo(tmp_path):
    def make(name):
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


def test_read(tmp_path, fifo):
    (tmp_path / "file").write_text("größe", encoding="utf-8")
    assert read_text(tmp_path / "file") == "größe" and len(read_file(tmp_path / "file")) == 7
    for path, said in ((tmp_path, "Is a directory"), (fifo("f"), "it is no file"), (Path("/dev/zero"), "no file")):
        with pytest.raises(OSError, match=said):
            read_file(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.csv", data.read),
        ("a.npz", read_arrays),
        ("a.npy", read_array),
        ("p.yaml", Preprocess.read),
        ("t.json", lambda path: Tuner(None, "cpu", path, measure=False)),
        ("net.relay", reader.read_relay),
        ("net.onnx", import_onnx),
    ],
)
def test_readers(fifo, name, read):
    with pytest.raises(UserError):
        read(fifo(name))


@pytest.mark.parametrize("name", [bundles.DESCRIPTION, bundles.LIBRARY])
def test_in_a_bundle(tiny, name):
    (tiny.path / name).unlink()
    os.mkfifo(tiny.path / name)
    with pytest.raises(UserError, match=f"can't read {name}: it is no file"):
        bundles.read(tiny.path)
    if name == bundles.DESCRIPTION:
        with pytest.raises(UserError, match="is a directory with"):
            bundles.check_destination(tiny.path)


@pytest.mark.parametrize("member", ["images", "labels", "images.npy"])
def test_members_of_archives_that_are_no_arrays(tmp_path, member):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 4, 4, 3), np.uint8))
    with zipfile.ZipFile(path, "w" if member == "images.npy" else "a") as archive:
        archive.writestr(member, b"xxxx")
    with pytest.raises(UserError, match=r"a\.npz"):
        data.read(path)
