"""What `compile` says of the kernels that it chose."""

from types import SimpleNamespace

from eq_tvm.cli.report import kernel_counts


def test_by_algorithm():
    names = [
        "F(4,3) vpdpwssd_512 4x4x4 ahead",
        "direct vpdpbusd_512 2x14x14",
        "direct vpdpbusd_512 4x1x1 nibbles",
        "direct smlal_parts_x4 4x2x7 im2col nibbles",
        "direct sdot 4x1x1 im2col",
        "F(4,3) pmaddwd_256 1x2x4 ordered",
    ]
    kernels = [{"layer": f"layer{i}", "kernel": name} for i, name in enumerate(names)]
    layers = [{"layer": "layer0", "op": "conv2d"}, {"layer": "other", "op": "conv2d"}]
    network = SimpleNamespace(kernels=kernels, calibration={"layers": layers})
    assert kernel_counts(network) == {"Winograd F(4,3)": 2, "direct": 2, "direct nibbles": 2, "depthwise": 1}
