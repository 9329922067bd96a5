"""Reductions, sums along an axis and norms, against onnx's reference."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, random, write_model
from onnx_nodes import check_node

from eq_tvm.importer.converters.reductions import REDUCTIONS

KINDS = [name for name in REDUCTIONS if name.startswith("Reduce")]


@pytest.mark.parametrize("axes", [None, [], [1], [0, -1]])
@pytest.mark.parametrize("kind", KINDS)
def test_axes(tmp_path, kind, axes):
    constants = [] if axes is None else [np.array(axes, "int64")]
    check_node(tmp_path, kind, [np.abs(random(2, 3, 4))], constants, keepdims=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_axes_reduce_nothing(tmp_path, kind):
    check_node(tmp_path, kind, [np.abs(random(2, 3))], noop_with_empty_axes=1)


@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(
    "values", [np.array([[True, False], [False, False]]), np.array([[np.inf] * 2, [-np.inf] * 2], "float32")]
)
def test_extremes_of_booleans_and_infinity(tmp_path, kind, values):
    check_node(tmp_path, kind, [values], [np.array([1])], opset=20)


@pytest.mark.parametrize("kind", ["ReduceL2", "ReduceSum", "ReduceProd"])
def test_integers(tmp_path, kind):
    check_node(tmp_path, kind, [np.array([[3, 4], [6, 8]], "int64")], [np.array([1])])


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("kind,opset", [("CumSum", 21), ("CumProd", 26)])
def test_along_an_axis(tmp_path, kind, opset, exclusive, backwards):
    axis = [np.array(-1)]
    check_node(tmp_path, kind, [random(3, 4)], axis, opset=opset, exclusive=exclusive, reverse=backwards)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax_takes_the_first(tmp_path, axis):
    check_node(tmp_path, "Hardmax", [np.array([[1, 3, 3], [3, 1, 3]], "float32")], axis=axis)


@pytest.mark.parametrize("order", [1, 2])
def test_norm(tmp_path, order):
    """Onnx's reference forgets the absolute value."""
    nodes = [("LpNormalization", "x", "y", {"p": order, "axis": 0})]
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (3, 4)}, ["y"]))
