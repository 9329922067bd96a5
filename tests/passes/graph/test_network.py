"""What a canonical function is as a network."""

from onnx_models import canonical, random, write_model

from eq_tvm.passes.graph.network import read_network


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
