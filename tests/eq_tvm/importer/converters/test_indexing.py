"""Indices that the data choose: within bounds as onnx's reference has it, beyond them the nearest element."""

import itertools

import numpy as np
import pytest
from covering import covering
from onnx_models import random
from onnx_nodes import check_node, run_node, write_node

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx

DATA = random(2, 3, 4)
LIMITS = np.iinfo("int64")
# Of each operator what it reads (with `wrong` in place of an index), and its attributes
INDEXED = {
    "Gather": (lambda wrong: [DATA, np.array([[0, wrong], [-1, 1]])], {"axis": 1}),
    "GatherElements": (lambda wrong: [DATA, np.array([[[0, wrong, 1, -1]]] * 2)], {"axis": 1}),
    "GatherND": (lambda wrong: [DATA, np.array([[0, wrong], [-1, 1]])], {}),
    "ScatterElements": (lambda wrong: [DATA, np.array([[[0, wrong, 1, -2]]]), random(1, 1, 4, seed=1)], {"axis": 1}),
    "ScatterND": (lambda wrong: [DATA, np.array([[0, wrong], [-1, 1]]), random(2, 4, seed=1)], {}),
}


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("operator", INDEXED)
def test_within_bounds(operator, dtype, tmp_path):
    operands, attributes = INDEXED[operator]
    data, indices, *rest = operands(-2)
    indices = indices.astype("int64" if operator.endswith("ND") else dtype)  # which has no other
    check_node(tmp_path, operator, [data, indices, *rest], **attributes)
    check_node(tmp_path, operator, [data], [indices, *rest], **attributes)


@pytest.mark.parametrize(
    "wrong, nearest", [(3, 2), (10**9, 2), (LIMITS.max, 2), (-4, 0), (-(10**9), 0), (LIMITS.min, 0)]
)
@pytest.mark.parametrize("operator", INDEXED)
def test_out_of_bounds_is_the_nearest_element(operator, wrong, nearest, tmp_path):
    operands, attributes = INDEXED[operator]
    got, want = (run_node(tmp_path, operator, operands(index), **attributes) for index in (wrong, nearest))
    np.testing.assert_array_equal(got[0], want[0])


@pytest.mark.parametrize("operator", INDEXED)
def test_a_constant_index_out_of_bounds_is_refused(operator, tmp_path):
    operands, attributes = INDEXED[operator]
    data, *constants = operands(3)
    write_node(tmp_path / "node.onnx", operator, [data], constants, **attributes)
    with pytest.raises(UserError, match=rf"{operator} \(node 'y0'\): its index 3 is out of bounds"):
        import_onnx(tmp_path / "node.onnx")


@pytest.mark.parametrize("reduction", ["add", "mul", "min", "max"])
@pytest.mark.parametrize("operator", ["ScatterElements", "ScatterND"])
def test_reductions(operator, reduction, tmp_path):
    operands, attributes = INDEXED[operator]
    check_node(tmp_path, operator, operands(-2), reduction=reduction, **attributes)


@pytest.mark.parametrize("positions", [None, np.int32([[4, 0, 9]])])
def test_embedding(positions, tmp_path):
    """ONNX Runtime's own operator: of word 7, which there is not, the last."""
    tables = [random(5, 6), random(8, 6, seed=1), random(2, 6, seed=2), np.ones(6, "float32"), random(6, seed=3)]
    got = []
    for words in ([[1, 7, 0]], [[1, 4, 0]]):
        inputs = [np.int32(words), np.int32([[0, 1, 5]]), *tables, np.int32([[1, 1, 0]])]
        inputs += [] if positions is None else [positions]
        got.append(run_node(tmp_path, "EmbedLayerNormalization", inputs, domain="com.microsoft", outputs=2))
    np.testing.assert_array_equal(got[0][0], got[1][0])
    places = [0, 1, 2] if positions is None else [4, 0, 7]
    rows = tables[0][[1, 4, 0]] + tables[1][places] + tables[2][[0, 1, 1]]
    rows = (rows - rows.mean(-1, keepdims=True)) / rows.std(-1, keepdims=True) + tables[4]
    np.testing.assert_allclose(got[0][0][0], rows, 1e-4, 1e-4)
    np.testing.assert_array_equal(got[0][1], [2])


EXTENTS = [(1, 2, 2), (2, 2, 3), (2, 1, 4), (1, 3, 1), (2, 3, 4)]


@pytest.mark.parametrize(
    "place, reduction", covering([*itertools.product(EXTENTS, range(3))], ["none", "add", "mul", "max"])
)
def test_scatter_of_fewer_rows_and_columns_than_the_data_have(tmp_path, place, reduction):
    rng, (extents, axis) = np.random.default_rng(0), place
    extent = DATA.shape[axis]
    if reduction == "none":  # which leaves it open what is there where an index comes twice
        indices = np.argsort(rng.random((*extents[:axis], extent, *extents[axis + 1 :])), axis)
        indices = indices.take(range(extents[axis]), axis)
    else:
        indices = rng.integers(-extent, extent, extents)
    attributes = {"axis": axis} | ({"reduction": reduction} if reduction != "none" else {})
    check_node(tmp_path, "ScatterElements", [DATA], [indices, random(*extents, seed=1)], **attributes)
