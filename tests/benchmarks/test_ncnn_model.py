"""What the converter to ncnn writes for operators that ncnn has under other names."""

import numpy as np
import pytest
from onnx_models import write_model

from converted import ncnn_model


def test_residual_of_every_other_pixel(tmp_path):
    """The shortcut of a CIFAR ResNet: every other pixel, then channels of zeros."""
    constants = {
        "starts": np.array([0]),
        "ends": np.array([2**63 - 1]),
        "rows": np.array([2]),
        "steps": np.array([2]),
        "pads": np.array([0, 4, 0, 0, 0, 5, 0, 0]),
    }
    nodes = [("Slice", "data starts ends rows steps", "s", {}), ("Pad", "s pads", "p", {})]
    assert _convert(tmp_path, nodes, constants) == [
        "Pooling s 1 1 data s 1=1 11=1 2=1 12=2 5=1",
        "Padding p 1 1 s p 0=0 1=0 2=0 3=0 5=0.0 7=4 8=5",
    ]


def test_other_slices_are_refused(tmp_path):
    constants = {"starts": np.array([1]), "ends": np.array([2**63 - 1]), "rows": np.array([2]), "steps": np.array([2])}
    with pytest.raises(ValueError, match="slices"):
        _convert(tmp_path, [("Slice", "data starts ends rows steps", "s", {})], constants)


def _convert(folder, nodes, constants) -> list[str]:
    """The layers after the input, as lines."""
    write_model(folder / "net.onnx", nodes, {"data": [1, 3, 8, 8]}, [nodes[-1][2]], constants)
    ncnn_model.convert(folder / "net.onnx", folder / "net.param", folder / "net.bin")
    return [" ".join(line.split()) for line in (folder / "net.param").read_text().splitlines()[3:]]
