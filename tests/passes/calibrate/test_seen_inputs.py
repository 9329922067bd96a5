"""What the record tells of a layer's input."""

import numpy as np
import pytest
from small_networks import build, random
from tvm import relax

from eq_tvm import pipeline

IMAGES = random(6, 3, 8, 8, seed=7)


def record_of(images, scheme="int8"):
    def make(emit, x):
        return [emit(relax.op.nn.conv2d(x, relax.const(random(4, 3, 1, 1)), padding=0), "conv")]

    _, (record,) = pipeline.calibrate(build(make), {"x": images}, scheme=scheme, method="minmax")
    return record


def test_values_and_range():
    record = record_of(IMAGES)
    seen = IMAGES[[0, 2, 3, 5]]  # four of them, evenly spaced
    assert (record.input_low, record.input_high) == (seen.min(), seen.max())
    assert record.input_counts == np.histogram(seen, 64)[0].tolist()
    low, high = record.input_ends
    assert low <= record.input_low and high >= record.input_high and record.lost_channels == 0


def test_similarity_is_highest_about_the_scale():
    record = record_of(IMAGES)
    scales, cosines = np.transpose(record.similarity)
    assert len(scales) == 37 and scales[0] == pytest.approx(record.input_scale / 4)
    best = scales[np.argmax(cosines)]
    assert 0.3 < best / record.input_scale < 1.3 and cosines[24] > 0.999  # 24: the scale itself
    assert scales[24] == pytest.approx(record.input_scale) and cosines.max() <= 1


def test_an_input_of_zeros():
    record = record_of(np.zeros_like(IMAGES))
    assert record.input_counts == [4 * 3 * 64] and {cosine for _, cosine in record.similarity} == {1.0}


def test_channels_that_are_too_small():
    small = IMAGES * np.float32([1, 1e-6, 0]).reshape(3, 1, 1)  # the third is not lost: it is 0
    assert record_of(small).lost_channels == 1
