"""Drawn images are different, in range, and have the spectrum of photographs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.passes import procedural_images

SIZES = st.integers(1, 40)


@settings(max_examples=20)
@given(count=st.integers(1, 4), channels=st.sampled_from([1, 3, 5]), height=SIZES, width=SIZES, seed=st.integers(0, 9))
def test_any_size(count, channels, height, width, seed):
    images = procedural_images(count, channels, height, width, seed)
    assert images.shape == (count, channels, height, width) and images.dtype == np.float32
    assert 0 <= images.min() and images.max() <= 1
    assert np.array_equal(images, procedural_images(count, channels, height, width, seed))


def test_more_images_begin_with_the_same():
    few, many = (procedural_images(count, 3, 16, 16) for count in (2, 5))
    assert np.array_equal(few, many[:2]) and len(np.unique(many.reshape(5, -1), axis=0)) == 5


@pytest.mark.parametrize("size", [32, 96])
def test_spectrum(size):
    """Amplitudes fall by about 1 / f: for photographs the exponent is 0.8 to 1.2; noise has 0."""
    images = procedural_images(24, 1, size, size)[:, 0]
    amplitudes = np.sqrt((np.abs(np.fft.fft2(images)) ** 2).mean(0))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    inside = (frequency > 1.5 / size) & (frequency < 0.4)
    slope, _ = np.polyfit(np.log(frequency[inside]), np.log(amplitudes[inside]), 1)
    assert -1.4 < slope < -0.7


def test_channels_are_mostly_brightness():
    images = procedural_images(24, 3, 32, 32)
    red, green = images[:, 0].ravel(), images[:, 1].ravel()
    assert 0.7 < np.corrcoef(red, green)[0, 1] < 0.99
