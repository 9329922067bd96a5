"""What people are told about a layer."""

import pytest

from eq_tvm.quantizing.hints import hint

INPUT = {"saturated": 0.0, "scale": 1.0, "scale_max_abs": 1.0, "channel_ratio": 2.0}
LAYER = {
    "scheme": "int7",
    "share": 0.5,
    "sqnr_alone_db": 30.0,
    "sqnr_inputs_db": 33.0,
    "sqnr_weights_db": 33.0,
    "shift": 0.1,
    "inputs": [INPUT],
    "weights": {"channel_ratio": 2.0, "zeroed": 0.1},
    "channels": 16,
    "dead_channels": 1,
    "dead_channels_float": 1,
}
BAD_WEIGHTS = {"sqnr_weights_db": 3.0, "sqnr_alone_db": 3.0}


@pytest.mark.parametrize(
    ("changes", "method", "expected"),
    [
        ({"share": 0.1}, "minmax", ""),
        ({"share": 0.1, "sqnr_alone_db": 12.0}, "minmax", "keep float"),
        ({"share": 0.1, "sqnr_alone_db": None}, "minmax", ""),
        ({}, "minmax", "keep at int8"),
        ({"scheme": "int8"}, "minmax", "keep float"),
        ({"share": 0.9}, "minmax", "keep float"),
        (
            {"inputs": [INPUT, INPUT | {"saturated": 0.021, "scale": 0.5}]},
            "mse+",
            "saturates 2% of its input: try --method minmax+",
        ),
        ({"inputs": [INPUT | {"saturated": 0.021}]}, "mse", "keep at int8"),  # as the network does itself
        (
            BAD_WEIGHTS | {"weights": {"channel_ratio": 1000.0, "zeroed": 0.9}},
            "mse",
            "weights: one input channel dominates (1000 times): keep float, or try --method mse+",
        ),
        (
            BAD_WEIGHTS | {"weights": {"channel_ratio": 1000.0, "zeroed": 0.9}},
            "mse+",
            "weights: one input channel dominates (1000 times): keep float",
        ),
        (
            BAD_WEIGHTS | {"weights": {"channel_ratio": 2.0, "zeroed": 0.9}},
            "mse",
            "weights: 90% become 0 beside a few large ones: keep float",
        ),
        (
            {"inputs": [INPUT | {"channel_ratio": 50.0}]},
            "mse",
            "input: one channel dominates (50 times): keep at int8, or try --method mse+",
        ),
        ({"dead_channels": 4}, "mse", "quantization makes 3 more of its 16 channels 0: keep at int8"),
        ({"shift": 0.6}, "mse", "60% of it is a shift: try --method mse+"),
        ({"shift": 0.6}, "mse+", "keep at int8"),
    ],
)
def test_hints(changes, method, expected):
    assert hint(LAYER | changes, 10, method) == expected


def test_an_addition():
    layer = {"scheme": "int7", "share": 0.5, "sqnr_alone_db": 30.0, "shift": 0.0, "inputs": [INPUT]}
    assert hint(layer, 10, "minmax") == "keep at int8"
