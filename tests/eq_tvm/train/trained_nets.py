"""Small networks that differ in what is between two convolutions."""

import numpy as np
from onnx_models import random, write_model

from eq_tvm.train.start import start

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
    "sums": [
        ("Add", "c r", "s", {}),
        ("Conv", "s square4", "d1", {}),
        ("Add", "d1 s", "t", {}),
        ("Relu", "t", "z", {}),
    ],
    "products": [
        ("AveragePool", "r", "m", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]}),
        ("GlobalAveragePool", "m", "p1", {}),
        ("Conv", "p1 square4", "e", {}),
        ("HardSigmoid", "e", "h", {}),
        ("Mul", "m h", "t", {}),
        ("Clip", "t low high", "z", {}),
    ],
    "bounds": [("Min", "r tops", "z", {})],
    "slopes": [("PRelu", "c slopes", "z", {})],
    "attention": [
        ("Reshape", "c sequence", "s", {}),
        ("Transpose", "s", "t", {"perm": [0, 2, 1]}),
        ("LayerNormalization", "t gamma beta", "n", {}),
        ("MatMul", "n s", "scores", {}),
        ("Add", "scores mask", "masked", {}),
        ("Softmax", "masked", "p1", {}),
        ("MatMul", "p1 n", "a1", {}),
        ("Add", "a1 t", "o", {}),
        ("MatMul", "o square", "u", {}),
        ("Gelu", "u", "v", {}),
        ("Add", "v o", "sum", {}),
        ("RMSNormalization", "sum gamma", "rms", {}),
        ("Transpose", "rms", "back1", {"perm": [0, 2, 1]}),
        ("Reshape", "back1 image", "z", {}),
    ],
    "functions": [("Sigmoid", "c", "s", {}), ("Mul", "c s", "silu", {}), ("Clip", "silu low high", "z", {})],
}


def begun(folder, between, scheme="int8"):
    """What training of such a network starts from."""
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
        "square4": random(4, 4, 1, 1),
        "tops": np.array([0.5, 3, 0.1, 1], np.float32).reshape(1, 4, 1, 1),
        "slopes": np.array([0.1, -0.3, 0.7, 1.5], np.float32).reshape(4, 1, 1),
        "gamma": np.array([1, 0.5, -0.3, 2], np.float32),
        "beta": np.array([0.1, 0, -1, 0.4], np.float32),
        "mask": np.where(np.tri(154), 0, -np.inf).astype(np.float32),
        "square": random(4, 4),
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
        opset=23,
    )
    np.savez(folder / "x.npz", x=random(12, 3, 11, 14, seed=3))
    return start(
        folder / "net.onnx", folder / "x.npz", preprocess=None, scheme=scheme, keep=None, progress=lambda *_: None
    )
