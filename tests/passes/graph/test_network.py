"""What a canonical function is as a network."""

import numpy as np
from onnx_models import canonical, random, write_model

from eq_tvm.passes.graph.network import QUANTIZED_OPS, read_network


def test_sums_between_float_operators_stay_float(tmp_path):
    """Those of squares, which the root takes, lost all that is small beside the largest."""
    nodes = [
        ("Mul", "x x", "a", {}),
        ("Exp", "x", "e", {}),
        ("Add", "a e", "sum", {}),
        ("Transpose", "sum", "t", {"perm": [0, 1, 3, 2]}),
        ("Sqrt", "t", "root", {}),
        ("Conv", "root w", "c", {}),
        ("Add", "c c", "y", {}),
    ]
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], {"w": random(3, 3, 1, 1)})
    net = read_network(canonical(path))
    ops = [node.op for node in net.nodes]
    assert ops[3:] == ["float", "float", "permute_dims", "conv2d", "add"]  # the root goes before the transpose


def test_each_layer_has_a_name_of_its_own(tmp_path):
    """Two products of matrices, which one Resize becomes."""
    path = write_model(
        tmp_path / "net.onnx",
        [
            ("ConvTranspose", "x w", "c", {"strides": [2, 2]}),
            ("Resize", "x - - sizes", "r", {"mode": "cubic"}),
            ("Add", "c r", "y", {}),
        ],
        {"x": (1, 3, 8, 8)},
        ["y"],
        {"w": random(3, 3, 2, 2), "sizes": np.array([1, 3, 16, 16])},
    )
    net = read_network(canonical(path))
    names = [node.name for node in net.nodes if node.op in QUANTIZED_OPS]
    assert len(names) == len(set(names)) > 2
