"""Inputs that a program makes: of each form that networks take, and as pictures."""

import numpy as np
import pytest
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs.synthetic_inputs import noise_of, save_images, synthetic_inputs
from eq_tvm.preprocess import Preprocess

BGR = Preprocess("BGR", (104.0, 117.0, 123.0), (2.0, 2.0, 2.0))


def made(shape, dtype="float32", preprocess=None, count=3):
    (found,) = synthetic_inputs([TensorInfo("x", shape, dtype)], preprocess, count)
    assert found.array.shape == (count, *(shape[1:] if shape[:1] == (1,) else shape))
    assert found.array.dtype == dtype
    return found


@pytest.mark.parametrize("shape", [(1, 3, 9, 7), (1, 9, 7, 3), (2, 3, 9, 7)])
def test_pixels(shape):
    """Within what pixels become, and such numbers exactly."""
    found = made(shape, preprocess=BGR)
    low, high = found.bounds
    assert (found.array >= low).all() and (found.array <= high).all()
    pixels = (found.array - low) * 2
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)
    assert pixels.std() > 20


def test_pixels_as_they_are():
    found = made((1, 8, 8, 3), "uint8")
    assert found.bounds is not None and found.array.max() > 100


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 12, 16, 16), (1, 16, 16, 1)])
def test_unknown_units(shape):
    found = made(shape, count=20)
    assert found.bounds is None and abs(found.array.mean()) < 0.4 and 0.6 < found.array.std() < 1.4


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 10), "float32"), ((1, 7), "int64"), ((), "bool"), ((5, 4), "float16")]
)
def test_noise(shape, dtype):
    assert made(shape, dtype).bounds is None
    image = TensorInfo("image", (1, 3, 8, 8), "float32")
    assert noise_of([image, TensorInfo("x", shape, dtype)], None) == ["x"]


@pytest.mark.parametrize(("channels", "mode"), [("RGB", "RGB"), ("BGR", "RGB"), ("GRAY", "L")])
def test_pictures_are_the_pixels(channels, mode, tmp_path):
    """Preprocessed, they are the inputs again."""
    count = 1 if channels == "GRAY" else 3
    preprocess = Preprocess(channels, (100.0,) * count, (-50.0,) * count)
    found = made((1, count, 8, 6), preprocess=preprocess)
    assert save_images([found], tmp_path / "made") == 3
    files = sorted((tmp_path / "made").iterdir())
    assert [file.name for file in files] == ["000.png", "001.png", "002.png"]
    assert save_images([found], tmp_path / "made") == 3  # its own may be replaced
    for file, expected in zip(files, found.array, strict=True):
        with Image.open(file) as picture:
            assert picture.mode == mode
            np.testing.assert_allclose(preprocess(np.atleast_3d(np.asarray(picture))), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["photo", "text", "folder", "link", "dangling link"])
def test_what_is_there_stays(kind, tmp_path):
    """In a folder of somebody's images, nothing is written."""
    there, photo = tmp_path / "photos" / "001.png", tmp_path / "photo.png"
    there.parent.mkdir()
    Image.new("RGB", (4, 4), (9, 8, 7)).save(photo)
    {
        "photo": lambda: there.write_bytes(photo.read_bytes()),
        "text": lambda: there.write_text("notes"),
        "folder": there.mkdir,
        "link": lambda: there.symlink_to(photo),
        "dangling link": lambda: there.symlink_to(tmp_path / "elsewhere"),
    }[kind]()
    before = photo.read_bytes()
    with pytest.raises(UserError, match=r"would replace .*001\.png"):
        save_images([made((1, 3, 4, 4))], there.parent)
    assert [path.name for path in there.parent.iterdir()] == ["001.png"] and photo.read_bytes() == before


def test_no_pictures_of_vectors(tmp_path):
    with pytest.raises(UserError, match="--save-images: no input"):
        save_images([made((1, 10))], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="write to the directory"):
        save_images([made((1, 3, 4, 4))], tmp_path / "file")
