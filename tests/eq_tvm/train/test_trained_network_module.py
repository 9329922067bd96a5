"""Networks in PyTorch: operators compute what the float network does, or are refused by name."""

import numpy as np
import pytest
from onnx_models import random, write_model

from eq_tvm.errors import UserError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.network import TrainedNetwork, check_same  # noqa: E402
from eq_tvm.train.start import start  # noqa: E402
from eq_tvm.train.steps import descend  # noqa: E402

BETWEEN = {
    "pooling": [
        ("MaxPool", "r", "m", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0], "ceil_mode": 1}),
        ("AveragePool", "m", "z", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "count_include_pad": 0}),
    ],
    "parts": [
        ("LeakyRelu", "c", "k", {"alpha": 0.1}),
        ("Concat", "r k", "both", {"axis": 1}),
        ("Split", "both", "one other", {"axis": 1, "num_outputs": 2}),
        ("Add", "one other", "z", {}),
    ],
    "resizing": [("Resize", "r - - sizes", "z", {"mode": "nearest"})],
    "between pixels": [
        ("Resize", "r - - sizes", "z", {"mode": "linear", "coordinate_transformation_mode": "half_pixel"})
    ],
    "places": [
        ("Gather", "c places", "taken", {"axis": 1}),
        ("Slice", "taken last before axis back", "turned", {}),
        ("Less", "turned low", "is", {}),
        ("Where", "is turned r", "z", {}),
    ],
    "reductions": [
        ("ReduceMax", "c axis", "m", {"keepdims": 1}),
        ("ReduceMin", "c axis", "n", {"keepdims": 1}),
        ("ReduceSum", "c axis", "s", {"keepdims": 1}),
        ("Sum", "m n s", "all", {}),
        ("Softplus", "all", "u", {}),
        ("Add", "u c", "z", {}),
    ],
    "volumes": [
        ("Reshape", "r volume", "v", {}),
        (
            "MaxPool",
            "v",
            "m",
            {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 1, 0, 0, 0, 1], "ceil_mode": 1},
        ),
        ("Reshape", "m flat", "z", {}),
    ],
    "heads as of torch": [
        ("Reshape", "r sequence", "s", {}),
        ("Transpose", "s", "t", {"perm": [2, 0, 1]}),  # images are in the middle
        ("Reshape", "t rows", "u", {}),
        ("Sigmoid", "u", "v", {}),
        ("Reshape", "v heads", "h", {}),
        ("Transpose", "h", "i", {"perm": [1, 0, 2]}),
        ("Reshape", "i four", "j", {}),
        ("Transpose", "j", "k", {"perm": [0, 1, 3, 2]}),
        ("Reshape", "k image", "z", {}),
    ],
    "heads as of timm": [
        ("Reshape", "r pairs", "s", {}),
        ("Transpose", "s", "t", {"perm": [2, 0, 1, 3]}),
        ("Split", "t", "one other", {"axis": 0, "num_outputs": 2}),
        ("Reshape", "one halves", "q", {}),
        ("Reshape", "other halves", "k", {}),
        ("Concat", "q k", "both", {"axis": 1}),
        ("Reshape", "both image", "z", {}),
    ],
    "functions": [("Sigmoid", "c", "s", {}), ("Mul", "c s", "silu", {}), ("Clip", "silu low high", "z", {})],
}


def begun(folder, between):
    nodes = [
        ("Conv", "x a ab", "c", {"pads": [0, 1, 1, 0]}),
        ("Relu", "c", "r", {}),
        *between,
        ("Conv", "z w", "d", {"group": 4, "strides": [2, 1]}),
        ("GlobalAveragePool", "d", "p", {}),
        ("Flatten", "p", "f", {}),
        ("Gemm", "f g gb", "y", {}),
    ]
    weights = {
        "a": random(4, 3, 2, 2),
        "ab": random(4),
        "w": random(8, 1, 2, 2),
        "g": random(8, 5),
        "gb": random(5),
        "low": np.float32(-0.2),
        "high": np.float32(1),
        "sizes": np.array([1, 4, 20, 20]),
        "places": np.array([3, 0, 0, 2]),
        "last": np.array([-1]),
        "before": np.array([-1000]),
        "axis": np.array([3]),
        "back": np.array([-1]),
        "volume": np.array([1, 2, 2, 11, 14]),
        "flat": np.array([1, 4, -1, 6]),
        "sequence": np.array([1, 4, 154]),
        "rows": np.array([154, 4]),
        "heads": np.array([154, 2, 2]),
        "four": np.array([1, 2, 154, 2]),
        "pairs": np.array([1, 2, 2, 154]),
        "halves": np.array([1, 2, 154]),
        "image": np.array([1, 4, 11, 14]),
    }
    read = {name for _, operands, *_ in nodes for name in operands.split()}
    write_model(
        folder / "net.onnx",
        nodes,
        {"x": (1, 3, 11, 14)},
        ["y"],
        {name: value for name, value in weights.items() if name in read},
        opset=18,
    )
    np.savez(folder / "x.npz", x=random(12, 3, 11, 14, seed=3))
    return start(
        folder / "net.onnx", folder / "x.npz", preprocess=None, scheme="int8", keep=None, progress=lambda *_: None
    )


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_operators(tmp_path, between):
    what = begun(tmp_path, between)
    network = TrainedNetwork(what.problem, what.scales)
    images = [x[:3] for x in what.problem.inputs.values()]
    check_same(network, images)
    with torch.no_grad():
        network.weights[str(what.problem.net.layers()[0])] *= 1.1
    with pytest.raises(UserError, match="computes something else"):
        check_same(network, images)


def test_what_there_is_no_operator_for_is_named(tmp_path):
    what = begun(tmp_path, [("Round", "r", "z", {})])
    with pytest.raises(UserError, match=r"node n2.* can't be trained: --method mse\+ --refine blocks"):
        TrainedNetwork(what.problem, what.scales)


def test_judging_leaves_training_as_it_is(tmp_path):
    """Bits are dropped, and rounding has a gradient, behind a report as well."""
    what = begun(tmp_path, BETWEEN["pooling"])
    network, teacher = (TrainedNetwork(what.problem, what.scales) for _ in range(2))
    teacher.quantized = False
    images = [torch.from_numpy(x[:3, 0]) for x in what.problem.inputs.values()]
    modes = []
    network.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    for _ in descend(network, teacher, iter([(images, None)] * 3), 3, 1e-3):
        network.eval()
    assert modes == [True] * 3
