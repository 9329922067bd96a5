"""How close tensors are."""

import numpy as np
import pytest

from eq_tvm.passes.quantized.closeness import mean_cosine


@pytest.mark.parametrize(
    ("a", "b", "cosine"),
    [
        ([3, 4], [6, 8], 1),
        ([3, 4], [-3, -4], -1),
        ([1, 0], [1, 1], np.sqrt(0.5)),
        ([1e25, 0], [1e25, 1e25], np.sqrt(0.5)),  # their squares are no float32
        ([1e-30, 0], [1e-30, 1e-30], np.sqrt(0.5)),
        ([0, 0], [0, 0], 1),  # a layer that yields nothing, and is quantized to nothing
        ([0, 0], [1, 0], 0),
        ([1, 0], [0, 0], 0),
    ],
)
def test_cosine_of_one_image(a, b, cosine):
    assert mean_cosine(*np.array([[a], [b]], "float32")) == pytest.approx(cosine)


def test_mean_over_images():
    a, b = np.array([[0, 0], [1, 0], [0, 1], [1, 2]], "float32"), np.array([[0, 0], [0, 1], [0, 2], [1, 2]], "float32")
    assert mean_cosine(a, b) == pytest.approx(3 / 4)
