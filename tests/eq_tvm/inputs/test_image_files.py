"""Image files of all kinds that Pillow reads."""

import struct
import warnings

import numpy as np
import pytest
from PIL import Image, features

from eq_tvm.errors import UserError
from eq_tvm.inputs.image_files import read_image

RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
ALPHA = np.array([0, 51, 255, 255], np.uint8)  # of each column


def read(picture, path, **options):
    picture.save(path, **options)
    return read_image(path)


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "1"])
@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp", "gif"])
def test_modes_without_alpha(tmp_path, mode, suffix):
    picture = PICTURE.convert(mode)
    expected = np.asarray((picture if suffix != "gif" or mode != "RGB" else picture.convert("P")).convert("RGB"))
    result = read(picture, tmp_path / f"a.{suffix}")
    assert result.dtype == np.uint8 and result.shape == (6, 4, 3)
    if (mode, suffix) != ("RGB", "gif"):  # whose palette is the encoder's choice
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
def test_exif_orientation(tmp_path, orientation, suffix):
    turned = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: PIXELS[::-1].transpose(1, 0, 2),
        7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: PIXELS[:, ::-1].transpose(1, 0, 2),
    }
    exif = Image.Exif()
    exif[0x112] = orientation
    big = Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1))  # whole blocks, which JPEG keeps nearly as they are
    result = read(
        big, tmp_path / f"a.{suffix}", exif=exif, **({"quality": 98, "subsampling": 0} if suffix == "jpg" else {})
    )
    expected = turned[orientation].repeat(8, 0).repeat(8, 1)
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected).max() <= (12 if suffix == "jpg" else 0)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_grey_of_16_bits(tmp_path, suffix):
    values = np.array([[0, 100, 257], [32768, 65000, 65535]], np.uint16)
    result = read(Image.fromarray(values), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(result, np.rint(values / 257).astype(np.uint8)[:, :, None].repeat(3, 2))


def tiff(values, bits, white_is_0):
    """A grey TIFF, uncompressed; integers of 12 bits as two pixels in three bytes."""
    high, low = values[:, ::2].astype(np.uint32), values[:, 1::2].astype(np.uint32)
    packed = (high << 12 | low).astype(">u4").view(np.uint8).reshape(*high.shape, 4)[..., 1:]
    data = packed.tobytes() if bits == 12 else values.tobytes()
    floats = values.dtype.kind == "f"
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: int(not white_is_0), 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 339: 3 if floats else 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("bits", "white_is_0"), [(12, False), (16, False), (16, True), (32, False), (32, True)])
def test_grey_tiff_of_more_than_8_bits(tmp_path, bits, white_is_0):
    shares = np.array([[0, 0.1, 0.5, 1], [0.25, 1, 0, 0.7]])
    numbers = np.float32(shares) if bits == 32 else np.rint(shares * (2**bits - 1)).astype(np.uint16)
    (tmp_path / "a.tiff").write_bytes(tiff(numbers, bits, white_is_0))
    expected = 255 * (1 - shares if white_is_0 else shares)
    assert np.abs(read_image(tmp_path / "a.tiff")[:, :, 0] - expected).max() < 1


def test_damaged_exif_data(tmp_path):
    PICTURE.save(tmp_path / "a.png", exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS)


def test_floats(tmp_path):
    values = np.array([[0, 0.1, 0.5], [0.7, 0.998, 1]], np.float32)
    result = read(Image.fromarray(values), tmp_path / "a.tiff")
    np.testing.assert_array_equal(result[:, :, 1], np.rint(values * 255))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.float32([[0, 255]]), r"its pixels are from 0.0 to 255.0, but floats must be from 0 to 1: save it in 8"),
        (np.float32([[-0.5, 1]]), "its pixels are from -0.5 to 1.0"),
        (np.float32([[np.nan, 1]]), "its pixels are from nan to nan"),
        (np.int32([[0, 70000]]), "from 0 to 70000, but integers of more than 8 bits must be from 0 to 65535"),
        (np.int32([[-1, 700]]), "from -1 to 700"),
        (np.int32([[0, 255]]), "its pixels have 32 bits, but none is above 255: what is white"),
    ],
)
def test_values_without_a_white(tmp_path, values, message):
    with pytest.raises(UserError, match=message) as error:
        read(Image.fromarray(values), tmp_path / "a.tiff")
    assert "a.tiff" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("RGBA", "tiff"), ("RGBA", "webp")])
def test_alpha_shows_white(tmp_path, mode, suffix):
    if suffix == "webp" and not features.check("webp"):
        pytest.skip("Pillow without WebP")
    picture = PICTURE.convert("L" if mode == "LA" else "RGB")
    colours = np.asarray(picture.convert("RGB")).astype(float)
    picture.putalpha(Image.fromarray(np.tile(ALPHA, (6, 1))))
    result = read(picture, tmp_path / f"a.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    share = ALPHA[None, :, None] / 255
    assert np.abs(result - (colours * share + 255 * (1 - share))).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_colour_of_a_palette(tmp_path, suffix):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    picture.putpalette([10, 20, 30, 0, 0, 0, 70, 80, 90])
    assert picture.mode == "P"
    result = read(picture, tmp_path / f"a.{suffix}", transparency=1)
    assert result.tolist() == [[[10, 20, 30], [255] * 3], [[70, 80, 90], [255] * 3]]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (1, 2, 3)), ("L", 7)])
def test_a_transparent_colour(tmp_path, mode, colour):
    picture = Image.new(mode, (2, 1), colour)
    picture.putpixel((1, 0), (200, 200, 200) if mode == "RGB" else 200)
    assert read(picture, tmp_path / "a.png", transparency=colour).tolist() == [[[255] * 3, [200] * 3]]


@pytest.mark.parametrize(("suffix", "near"), [("jpg", 6), ("tiff", 0)])
def test_cmyk(tmp_path, suffix, near):
    picture = Image.new("RGB", (16, 16), (200, 30, 90)).convert("CMYK")
    assert np.abs(read(picture, tmp_path / f"a.{suffix}").astype(int) - [200, 30, 90]).max() <= near


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_the_first_frame(tmp_path, suffix):
    if suffix == "webp" and not features.check("webp"):
        pytest.skip("Pillow without WebP")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black", "red")]
    options = {"lossless": True} if suffix == "webp" else {}
    with pytest.warns(UserWarning, match="the first one is taken"):
        result = read(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert (result == 255).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(frames[0], tmp_path / f"b.{suffix}")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_truncated(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RANDOM.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"can't read the image .*a\.{suffix}: .") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_a_decompression_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match=r"can't read the image .*a\.png: .*exceeds limit of 20 pixels"):
        read(PICTURE, tmp_path / "a.png")
