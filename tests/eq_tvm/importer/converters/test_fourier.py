"""Fourier transforms, against onnx's reference."""

import numpy as np
import pytest
from onnx_models import random
from onnx_nodes import check_node


@pytest.mark.parametrize("length", [None, 6, 9])
@pytest.mark.parametrize("inverse,onesided,parts", [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 2)])
def test_transform(tmp_path, inverse, onesided, parts, length):
    constants = [None if length is None else np.array(length), np.array(1)]
    given = {"inverse": inverse, "onesided": onesided, "opset": 20, "tolerance": 1e-4}
    check_node(tmp_path, "DFT", [random(2, 8, 3, parts)], constants, **given)


@pytest.mark.parametrize("onesided", [0, 1])
def test_frames(tmp_path, onesided):
    window = np.hanning(8).astype("float32")
    check_node(tmp_path, "STFT", [random(2, 40, 1)], [np.array(4), window], onesided=onesided, tolerance=1e-4)
