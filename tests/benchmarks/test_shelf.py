"""Networks that ship in packages: what shelf.yaml says of them, and the benchmark on one that is made here."""

import re

import numpy as np
import pytest
from onnx_models import random, write_model

import shelf
from peers.shelf_inputs import INPUTS, natural


@pytest.mark.parametrize("name", shelf.read_shelf())
def test_entry(name):
    network = shelf.read_shelf()[name]
    assert re.fullmatch(r"\d+(\.\d+)+", network.version) and network.file.endswith(".onnx")
    assert network.inputs.keys() == network.shapes.keys() and not network.inputs.keys() & network.constants.keys()
    assert network.rows == sorted(network.rows)
    assert set(network.inputs.values()) <= set(INPUTS)
    assert all(isinstance(size, int) and size > 0 for shape in network.shapes.values() for size in shape)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("text", (1, 3, 48, 96)),
        ("text", (1, 1, 128, 96)),
        ("speech", (1, 576)),
        ("source", (1, 99)),
        ("state", (2, 1, 8)),
    ],
)
def test_inputs_are_many_and_the_same_each_time(kind, shape):
    inputs = natural(kind, shape, 3)
    assert inputs.shape == (3, *shape) and inputs.dtype == ("int32" if kind == "source" else "float32")
    assert np.isfinite(inputs).all()
    assert all(each.std() > 0 for each in inputs)
    np.testing.assert_array_equal(inputs, natural(kind, shape, 3))


def test_row_has_the_cosine_of_each_output(tmp_path, monkeypatch, capsys):
    nodes = [("Conv", "x w", "a", {}), ("Mul", "a c", "y", {}), ("ReduceMax", "s", "z", {"axes": [0]})]
    model = write_model(
        tmp_path / "m.onnx", nodes, {"x": [1, 3, 8, 8], "s": [2, 4], "c": []}, ["y", "z"], {"w": random(4, 3, 3, 3)}
    )
    shapes, inputs = {"x": [1, 3, 8, 8], "s": [2, 4]}, {"x": "text", "s": "state"}
    network = shelf.Shipped("p", "1.0", "m.onnx", shapes, inputs, {"c": np.float32(2)})
    monkeypatch.setattr(shelf, "read_shelf", lambda: {"small": network})
    monkeypatch.setattr(shelf.Shipped, "fetch", lambda self, cache: model)
    monkeypatch.setattr("sys.argv", ["shelf.py", "--images", "2", "--limit", "2"])
    shelf.main()
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| small "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:2] == ["small", "3"]
    for cell in cells[2:5]:
        assert [float(cosine) > 0.999 for cosine in cell.split(",")] == [True, True]


def test_quantities_of_several_kinds_are_compared_apart():
    output, other = np.arange(2 * 1 * 6 * 5).reshape(2, 1, 6, 5), np.ones((2, 1, 3))
    assert [part.shape for part in shelf._parts([output, other], [4])] == [(2, 1, 4, 5), (2, 1, 2, 5), (2, 1, 3)]
    assert shelf._parts([output, other], [])[0] is output
