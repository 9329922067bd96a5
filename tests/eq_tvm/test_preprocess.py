"""From pixels to the network's input."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs import input_form
from eq_tvm.preprocess import Preprocess

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)
SHAPE = (1, 3, 6, 4)
GOOD = {"channels": "RGB", "mean": [1, 2, 3], "std": [4.0, 5.0, 6.0]}


def network_input(image, shape, preprocess):
    return input_form.network_input(image, TensorInfo("x", shape, "float32"), preprocess)


def test_formula():
    result = network_input(PIXELS, SHAPE, Preprocess("RGB", (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)))
    expected = (PIXELS.astype(np.float64) - [10, 20, 30]) / [2, 4, 8]
    assert result.dtype == np.float32 and result.shape == SHAPE
    np.testing.assert_allclose(result[0], expected.transpose(2, 0, 1), rtol=1e-6)


def test_bgr_numbers_are_in_the_order_of_the_channels():
    result = network_input(PIXELS, SHAPE, Preprocess("BGR", (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)))
    np.testing.assert_array_equal(result[0, 0], PIXELS[:, :, 2] - np.float32(1))
    np.testing.assert_array_equal(result[0, 2], PIXELS[:, :, 0] - np.float32(3))


def test_grey():
    grey = PIXELS[:, :, :1]
    as_rgb = np.repeat(grey, 3, axis=2)
    preprocess = Preprocess("GRAY", (0.0,), (255.0,))
    for image in (grey, as_rgb):
        result = network_input(image, (1, 1, 6, 4), preprocess)
        np.testing.assert_array_equal(result[0, 0], grey[:, :, 0] / np.float32(255))
    np.testing.assert_array_equal(network_input(grey, SHAPE, None)[0], as_rgb.transpose(2, 0, 1))


def test_resize_is_pillows_bilinear():
    preprocess = Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, resize=(9, 5))
    result = network_input(PIXELS, (1, 3, 9, 5), preprocess)
    expected = np.asarray(Image.fromarray(PIXELS).resize((5, 9), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(result[0], expected.transpose(2, 0, 1))


def test_shorter_side_and_crop():
    """Sizes and places as torchvision's Resize and CenterCrop have them."""
    preprocess = Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, resize=9, crop=(8, 7))
    result = network_input(PIXELS, (1, 3, 8, 7), preprocess)  # (6, 4) becomes (13, 9)
    expected = Image.fromarray(PIXELS).resize((9, 13), Image.Resampling.BILINEAR).crop((1, 2, 8, 10))
    np.testing.assert_array_equal(result[0], np.asarray(expected).transpose(2, 0, 1))
    with pytest.raises(UserError, match=r"the image is 6 x 4, less than crop \[5, 5\]: let .* have a larger resize"):
        network_input(PIXELS, (1, 3, 5, 5), Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, crop=(5, 5)))
    with pytest.raises(UserError, match="becomes 1500000 x 1000000 by resize 1000000: that is too large"):
        network_input(PIXELS, (1, 3, 5, 5), Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, resize=10**6, crop=(5, 5)))


def test_letterbox():
    preprocess = Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, letterbox=(12, 11))
    result = network_input(PIXELS, (1, 3, 12, 11), preprocess)
    inside = Image.fromarray(PIXELS).resize((8, 12), Image.Resampling.BILINEAR)
    expected = np.full((12, 11, 3), 114)
    expected[:, 1:9] = np.asarray(inside)  # of three columns that are free one is left
    np.testing.assert_array_equal(result[0], expected.transpose(2, 0, 1))
    grey = network_input(PIXELS[:, :, :1], (1, 1, 6, 6), Preprocess("GRAY", (0.0,), (1.0,), letterbox=(6, 6)))
    assert (grey[0, 0, :, [0, 5]] == 114).all() and (grey[0, 0, :, 1:5] == PIXELS[:, :, 0]).all()


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIZES, SIZES, st.sampled_from(["resize", "letterbox", "crop", "shorter side"]))
def test_places_are_found_again(image, size, how):
    """The corner of what an image shows, found in the network's input, lies in the image where it was."""
    sized = {"shorter side": {"resize": max(size)}, "crop": {"resize": max(size), "crop": size}}.get(how, {how: size})
    placement = Preprocess("GRAY", (0.0,), (1.0,), **sized).placement(*image)
    assert how == "shorter side" or placement.size == size
    if how == "letterbox":
        assert min(placement.offset) >= 0 and all(o + s <= b for o, s, b in zip(*_parts(placement), strict=True))
        assert any(s == b for s, b in zip(placement.scaled, size, strict=True))
    corners = np.array([[0, 0, image[1], image[0]]])
    y, x = (scaled / whole for scaled, whole in zip(placement.scaled, image, strict=True))
    there = corners * [x, y, x, y] + np.array([*placement.offset[::-1]] * 2)
    np.testing.assert_allclose(placement.corners_in_image(there), corners, atol=1e-9)
    rows, columns = placement.places_in_map(*placement.size)
    assert len(rows) == image[0] and len(columns) == image[1]
    if how != "crop":
        assert rows.min() >= 0 and columns.min() >= 0


def _parts(placement):
    return placement.offset, placement.scaled, placement.size


def test_without_preprocessing_pixels_become_floats():
    np.testing.assert_array_equal(network_input(PIXELS, SHAPE, None)[0], PIXELS.transpose(2, 0, 1).astype(np.float32))


def test_floats_are_taken_as_they_are():
    x = RANDOM.standard_normal(SHAPE, dtype=np.float32)
    preprocess = Preprocess("BGR", (9.0,) * 3, (9.0,) * 3)
    for array in (x, x[0]):
        np.testing.assert_array_equal(network_input(array, SHAPE, preprocess), x)


def test_round_trip():
    for sized in ({"resize": [3, 5]}, {"resize": 4, "crop": [3, 5]}, {"letterbox": [3, 5]}, {}):
        preprocess = Preprocess.from_dict({**GOOD, **sized, "layout": "NHWC"})
        assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("scale: 3", "has the unknown key scale; there are: channels, mean, std, resize, crop, letterbox, layout"),
        ("channels: BGRA", "channels must be one of RGB, BGR, GRAY, not 'BGRA'"),
        ("channels: GRAY", "mean must be one number per channel of GRAY"),
        ("mean: 3", "mean must be one number per channel"),
        ("mean: [a, b, c]", "mean must be one number per channel"),
        ("mean: [.nan, 0, 0]", "mean must be one number per channel"),
        ("std: [1, 0, 1]", "std must have no 0"),
        ("channels: [RGB]", "channels must be one of"),
        ("resize: 22.4", "resize must be .height, width., or one number for the shorter side, not 22.4"),
        ("resize: 0", "resize must be"),
        ("resize: yes", "resize must be"),
        ("crop: 224", r"crop must be \[height, width\], not 224"),
        ("letterbox: [224]", r"letterbox must be \[height, width\], not"),
        ("letterbox: [224, 224]\nresize: 3", "letterbox is instead of resize and crop"),
        ("resize: [0, 3]", "resize must be"),
        ("layout: CHW", "layout must be one of NCHW, NHWC, not 'CHW'"),
        (f"mean: [{10**400}, 0, 0]", "mean must be one number per channel"),
        (f"std: [1, {10**400}, 1]", "std must be one number per channel"),
        (f"resize: [{10**400}, 1]", "resize must be"),
        ("std: [1.0e-37, 2, 2]", "make numbers that float32 can't hold"),
        ("mean: [3.0e+38, 0, 0]\nmean: [1, 1, 1]", "mean is there twice"),
        ("layout: [NHWC]", "layout must be one of NCHW, NHWC"),
        ("{", "p.yaml is not valid YAML"),
    ],
)
def test_bad_file(tmp_path, change, message):
    path = tmp_path / "p.yaml"
    key = change.split(":")[0]
    path.write_text("\n".join([f"{k}: {v}" for k, v in GOOD.items() if k != key] + [change]))
    with pytest.raises(UserError, match=message) as error:
        Preprocess.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("channels", "mean", "std", "instead"),
    [
        (
            "RGB",
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
            "[123.675, 116.28, 103.53] and std: [58.395, ",
        ),
        ("GRAY", [0.1307], [0.3081], "[33.329] and std: [78.566]"),
        ("BGR", [0, 0, 0], [0.5, 0.5, 0.5], "[0.0, 0.0, 0.0] and std: [127.5, 127.5, 127.5]"),
    ],
)
def test_numbers_for_pixels_from_0_to_1(tmp_path, channels, mean, std, instead):
    values = {"channels": channels, "mean": mean, "std": std}
    (tmp_path / "p.yaml").write_text(str(values))
    with pytest.raises(UserError, match=re.escape(f"pixels are from 0 to 255 here: write mean: {instead}")):
        Preprocess.read(tmp_path / "p.yaml")
    assert Preprocess.from_dict(values).std == tuple(std)  # what bundles hold stays as it is


def test_numbers_near_1_may_be_meant(tmp_path):
    for mean, std in [(0, 1), (0.5, 1), (1, 255), (104, 0.5)]:
        (tmp_path / "p.yaml").write_text(f"{{channels: GRAY, mean: [{mean}], std: [{std}]}}")
        assert Preprocess.read(tmp_path / "p.yaml").std == (std,)


@pytest.mark.parametrize(
    ("text", "message"), [("", "must be a mapping"), ("channels: RGB", "lacks mean, std; it needs")]
)
def test_incomplete_file(tmp_path, text, message):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Preprocess.read(path)
    with pytest.raises(UserError, match=r"can't read the preprocessing .*: No such file"):
        Preprocess.read(tmp_path / "none.yaml")


def test_those_beside_the_real_models(shared_data):
    for model in shared_data.models.values():
        preprocess = Preprocess.read(model.with_suffix("").with_suffix(".preprocess.yaml"))
        assert len(preprocess.mean) == 3
