"""Einsum is a product of matrices, wherever it is one."""

import numpy as np
import onnx_models
import onnx_nodes
import pytest

EQUATIONS = {
    "bnd,dhe->bhne": [(2, 5, 6), (6, 3, 4)],  # projections of queries
    "bqhd,bkhd->bhqk": [(2, 5, 3, 4), (2, 7, 3, 4)],  # scores
    "bhqk,bkhd->bqhd": [(2, 3, 5, 7), (2, 7, 3, 4)],
    "aecd,abcd->acbe": [(2, 7, 3, 4), (2, 5, 3, 4)],  # as Keras names them
    "...d,de->...e": [(2, 5, 6), (6, 4)],
    "...ij,...jk": [(2, 3, 4), (2, 4, 5)],
    "ab,cd->acbd": [(2, 3), (4, 5)],
    "ij,ij->ij": [(2, 3), (2, 3)],
    "abc,cdk->bd": [(2, 3, 4), (4, 5, 6)],  # what one operand alone has is summed up
    "abc->ca": [(2, 3, 4)],
    "ij,ij->": [(2, 3), (2, 3)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_equations(tmp_path, equation):
    operands = [onnx_models.random(*shape, seed=i) for i, shape in enumerate(EQUATIONS[equation])]
    onnx_nodes.check_node(tmp_path, "Einsum", operands, equation=equation, tolerance=1e-4)


@pytest.mark.parametrize("equation", ["bnd,dhe->bhne", "bqhd,bkhd->bhqk"])
def test_no_einsum_is_left(tmp_path, equation):
    shapes = EQUATIONS[equation]
    path = tmp_path / "einsum.onnx"
    nodes = [("Einsum", "x y", "z", {"equation": equation})]
    onnx_models.write_model(path, nodes, dict(zip("xy", shapes, strict=True)), ["z"])
    assert set(onnx_models.operators(onnx_models.canonical(path))) <= {"permute_dims", "reshape", "matmul"}


def test_what_is_no_product_stays(tmp_path):
    """A diagonal, and three operands."""
    square = np.arange(9, dtype="float32").reshape(3, 3)
    onnx_nodes.check_node(tmp_path, "Einsum", [square], equation="ii->i")
    onnx_nodes.check_node(tmp_path, "Einsum", [square] * 3, equation="ij,jk,kl->il", tolerance=1e-4)
