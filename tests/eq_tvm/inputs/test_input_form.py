"""From arrays to a network's inputs."""

from dataclasses import replace

import numpy as np
import pytest

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs.checked import check_inputs
from eq_tvm.inputs.input_form import InputForm, network_input
from eq_tvm.inputs.number_kind import number_kind
from eq_tvm.inputs.random_inputs import random_numbers
from eq_tvm.preprocess import Preprocess

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)
SHAPE = (1, 3, 6, 4)
BGR = Preprocess("BGR", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
EXPECTED = (PIXELS[:, :, ::-1].astype(np.float32) - np.float32([1, 2, 3])) / np.float32([4, 5, 6])


def converted(array, shape=SHAPE, preprocess=None, dtype="float32", name="cat.png"):
    result = network_input(array, TensorInfo("x", shape, dtype), preprocess, name)
    assert result.shape == shape and result.dtype == dtype
    return result


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 3, 6, 4), "NCHW"),
        ((1, 6, 4, 3), "NHWC"),
        ((1, 6, 4, 1), "NHWC"),
        ((1, 1, 6, 3), "NCHW"),
        ((8, 6, 4, 3), "NHWC"),
        ((1, 4, 6, 4), None),
        ((1, 3), None),
        ((), None),
    ],
)
def test_the_layout_is_recognized(shape, layout):
    assert InputForm(TensorInfo("x", shape, "float32")).layout == layout


def test_the_layout_may_be_given():
    square = TensorInfo("x", (1, 3, 5, 3), "float32")
    assert InputForm(square).layout == "NCHW"
    nhwc = Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, layout="NHWC")
    assert InputForm(square, nhwc).layout == "NHWC"
    image = RANDOM.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(network_input(image, square, nhwc)[0], image.astype(np.float32))


def test_pixels_in_each_layout():
    np.testing.assert_array_equal(converted(PIXELS, SHAPE, BGR)[0], EXPECTED.transpose(2, 0, 1))
    np.testing.assert_array_equal(converted(PIXELS, (1, 6, 4, 3), BGR)[0], EXPECTED)
    np.testing.assert_array_equal(converted(PIXELS[None], (1, 6, 4, 3), BGR)[0], EXPECTED)
    grey = converted(np.repeat(PIXELS[:, :, :1], 3, axis=2), (1, 6, 4, 1))
    np.testing.assert_array_equal(grey[0], PIXELS[:, :, :1].astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 1, 6, 4), (1, 6, 4, 1)])
def test_grey_images_without_an_axis_of_channels(shape):
    """As Pillow and MNIST have them."""
    grey, three = PIXELS[:, :, 0], np.moveaxis(PIXELS, 2, 0)
    gray = Preprocess("GRAY", (9.0,), (3.0,))
    np.testing.assert_array_equal(converted(grey, shape, gray), converted(grey[:, :, None], shape, gray))
    form = InputForm(TensorInfo("x", shape, "float32"))
    np.testing.assert_array_equal(form.items(three, "images"), three[..., None])
    np.testing.assert_array_equal(form.items(three[:1], "images"), three[:1, ..., None])
    with pytest.raises(UserError, match="a uint8 image has the shape"):
        InputForm(TensorInfo("x", SHAPE, "float32")).items(grey, "images")


def test_grey_bytes_that_the_network_takes():
    grey = TensorInfo("x", (1, 1, 6, 4), "uint8")
    assert InputForm(grey).items(PIXELS[None, :, :, 0], "images").shape == (1, 1, 6, 4)
    np.testing.assert_array_equal(network_input(PIXELS[:, :, 0], grey, None)[0, 0], PIXELS[:, :, 0])


def test_a_batch_of_images():
    images = RANDOM.integers(0, 256, (2, 6, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(converted(images, (2, 3, 6, 4)), images.transpose(0, 3, 1, 2).astype(np.float32))
    with pytest.raises(UserError, match=r"becomes an input of shape \(1, 6, 4, 3\)|takes \(2, 3, 6, 4\)"):
        converted(images[:1], (2, 3, 6, 4))


def test_pixels_for_networks_of_integers():
    np.testing.assert_array_equal(converted(PIXELS, (1, 6, 4, 3), None, "uint8")[0], PIXELS)
    np.testing.assert_array_equal(converted(PIXELS, SHAPE, None, "int32")[0], PIXELS.transpose(2, 0, 1))
    centered = Preprocess("RGB", (128.0,) * 3, (1.0,) * 3)
    np.testing.assert_array_equal(
        converted(PIXELS, SHAPE, centered, "int8")[0], PIXELS.astype(int).transpose(2, 0, 1) - 128
    )
    for preprocess, dtype in ((BGR, "uint8"), (centered, "uint8"), (None, "int8")):
        with pytest.raises(UserError, match=f"the network takes pixels as {dtype}, .* for uint8 give mean 0"):
            converted(PIXELS, SHAPE, preprocess, dtype)


def test_what_a_network_of_bytes_takes_is_not_preprocessed_again():
    swap = Preprocess("BGR", (0.0,) * 3, (1.0,) * 3)
    once = converted(PIXELS, (1, 6, 4, 3), swap, "uint8")
    np.testing.assert_array_equal(once[0], PIXELS[:, :, ::-1])
    np.testing.assert_array_equal(converted(once, (1, 6, 4, 3), swap, "uint8"), once)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 5), (2, 5), (1, 4, 6, 2), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float16", "float32", "float64", "bool"])
def test_numbers_of_any_dtype_and_rank(shape, dtype):
    x = RANDOM.integers(0, 2, shape).astype(dtype)
    np.testing.assert_array_equal(converted(x, shape, BGR, dtype), x)
    if shape[:1] == (1,):
        np.testing.assert_array_equal(converted(x[0], shape, BGR, dtype), x)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.float64(0.1), "float32"),
        (np.int64(2**24), "float32"),
        (np.uint8(200), "float32"),
        (np.int64(255), "uint8"),
        (np.int32(-5), "int64"),
        (np.int64(1), "bool"),
        (np.bool_(True), "float32"),
        (np.array(1.5, ">f4"), "float32"),
        (np.float32(0.1), "float16"),
    ],
)
def test_other_dtypes_that_hold_the_same(given, dtype):
    assert converted(np.asarray(given), (), None, dtype) == np.asarray(given).astype(dtype)


@pytest.mark.parametrize(
    ("given", "dtype", "message"),
    [
        (np.float32(1), "int64", "cat.png is float32, but the network takes int64"),
        (np.float32(1), "bool", "is float32, but the network takes bool"),
        (np.int64(2**24 + 1), "float32", "is int64 with numbers that the network's float32 can't hold"),
        (np.int64(2**53 + 1), "float64", "float64 can't hold"),
        (np.int64(256), "uint8", "uint8 can't hold"),
        (np.int8(-1), "uint8", "uint8 can't hold"),
        (np.int64(2), "bool", "bool can't hold"),
        (np.float64(1e300), "float32", "float32 can't hold"),
        (np.float32(1e6), "float16", "float16 can't hold"),
        (np.array("a"), "float32", "is <U1, but the network takes float32"),
        (np.complex64(1), "float32", "is complex64"),
        (np.float64(np.nan), "float64", "contains NaN or infinity"),
    ],
)
def test_other_dtypes_that_do_not(given, dtype, message):
    with pytest.raises(UserError, match=message):
        converted(np.asarray(given), (), None, dtype)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PIXELS[:5], r"cat.png becomes an input of shape \(1, 3, 5, 4\), .* takes \(1, 3, 6, 4\); compile it with"),
        (PIXELS[:, :, 0], "cat.png: a uint8 image has the shape"),
        (np.zeros((6, 4, 4), np.uint8), "cat.png: a uint8 image has the shape"),
        (np.full((3, 6, 4), np.nan, np.float32), "cat.png contains NaN or infinity"),
        (np.zeros((3, 6, 5), np.float32), r"cat.png becomes an input of shape \(1, 3, 6, 5\)"),
        (np.zeros((2, 3, 6, 4), np.float32), r"cat.png becomes an input of shape \(2, 3, 6, 4\)"),
    ],
)
def test_what_does_not_fit(image, message):
    with pytest.raises(UserError, match=message):
        converted(image)


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        (
            {"resize": (10**12, 10**12)},
            SHAPE,
            r"resize \[1000000000000, 1000000000000\] does not fit",
        ),
        ({"resize": (4, 6)}, SHAPE, r"resize \[4, 6\] does not fit: the network takes \(1, 3, 6, 4\), NCHW"),
        (
            {"resize": (6, 4), "layout": "NHWC"},
            SHAPE,
            r"layout NHWC does not fit: the network takes",
        ),
        ({}, (1, 1, 6, 4), r"channels BGR does not fit: the network takes \(1, 1, 6, 4\), NCHW"),
    ],
)
def test_preprocessing_of_another_network(change, shape, message):
    with pytest.raises(UserError, match=f"preprocessing: {message}"):
        converted(PIXELS, shape, replace(BGR, **change))
    x = RANDOM.standard_normal(shape, np.float32)
    np.testing.assert_array_equal(converted(x, shape, replace(BGR, **change)), x)  # which is none of its business


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_floats_that_are_not_numpys_own(dtype):
    info = TensorInfo("x", (1, 5), dtype)
    numbers = random_numbers(np.random.default_rng(0), (1, 5), dtype)
    assert number_kind(dtype) == "f" and numbers.dtype == dtype and len(np.unique(numbers)) > 2
    for given in (numbers, numbers.astype(np.float64)):
        (taken,) = check_inputs(given, (info,), None)
        assert taken.dtype == dtype and (taken == numbers).all()
    with pytest.raises(UserError, match="contains NaN or infinity"):
        check_inputs(np.full((1, 5), np.nan).astype(dtype), (info,), None)
