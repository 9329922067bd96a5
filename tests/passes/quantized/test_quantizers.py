"""Ranges of quantized activations: how many integers, and how they are written down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.passes.quantized.quantizers import Range, activation_range_of, quantize, stored_range


@given(st.sampled_from(["int6", "int7", "int8"]), st.floats(0, 1))
def test_a_lowered_range_has_as_many_integers_and_room_below_0(scheme, share):
    whole = activation_range_of(scheme, "unsigned", True)
    lowered = whole.lowered(share)
    count = whole.hi + 1
    assert lowered.hi - lowered.lo + 1 == count and lowered.lo % (count // 16) == 0
    assert -count // 2 <= lowered.lo < 0 and -lowered.lo >= min(share, 0.5) * count
    info = np.iinfo(lowered.stored)
    assert info.min <= lowered.lo + lowered.zero_point and lowered.hi + lowered.zero_point <= info.max


def test_what_is_stored_says_the_range():
    assert stored_range("uint8", 16) == Range("int16", -16, 239)
    assert stored_range("int8", 0).clipped(-8, 119) == Range("int8", -8, 119)
    assert stored_range("uint8", 16).clipped(6, 200) == Range("int16", -10, 184)


@pytest.mark.parametrize("value, expected", [(-100, -16), (-8, -16), (0.25, 0), (0.75, 2), (500, 239)])
def test_quantize_clips_to_it(value, expected):
    assert quantize(np.float32([value]), np.float32(0.5), Range("int16", -16, 239)) == expected
