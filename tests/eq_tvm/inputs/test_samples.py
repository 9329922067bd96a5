"""What networks run on, from files."""

import warnings

import numpy as np
import pytest
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess

RANDOM = np.random.default_rng(8)
PIXELS = RANDOM.integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
IMAGE = TensorInfo("x", (1, 3, 6, 4), "float32")
PAIR = TensorInfo("x", (2, 3, 6, 4), "float32")
IDS = TensorInfo("ids", (1, 7), "int64")
FLAG = TensorInfo("flag", (), "bool")


def saved(folder, **arrays):
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def test_images(tmp_path):
    samples = Samples.read(saved(tmp_path, images=PIXELS, labels=np.arange(5)), [IMAGE], None)
    assert len(samples) == 5 and samples.labels(3).tolist() == [3]
    assert samples.name(3) == f"{tmp_path / 'd.npz'}[3]"
    np.testing.assert_array_equal(samples[3]["x"][0], PIXELS[3].transpose(2, 0, 1))


def test_files_in_batches(tmp_path):
    for i, image in enumerate(PIXELS):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    samples = Samples.read(tmp_path, [PAIR], None)
    assert (len(samples), samples.images_each, samples.left_over) == (2, 2, 1)
    assert samples.name(1) == f"{tmp_path / '2.png'} and 1 more" and samples.labels(0) is None
    np.testing.assert_array_equal(samples[1]["x"], PIXELS[2:4].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(4, 3, 6, 4), (2, 2, 3, 6, 4)])
def test_arrays_in_batches(tmp_path, shape):
    x = RANDOM.standard_normal((4, 3, 6, 4), dtype=np.float32)
    for name in ("x", "images"):
        samples = Samples.read(saved(tmp_path, **{name: x.reshape(shape)}), [PAIR], None)
        assert len(samples) == 2
        np.testing.assert_array_equal(samples[1]["x"], x[2:])


@pytest.mark.parametrize("with_batch", [False, True])
def test_several_inputs(tmp_path, with_batch):
    ids, flags = RANDOM.integers(0, 9, (5, 7)), np.arange(5) % 2 == 1
    ids = ids[:, np.newaxis] if with_batch else ids
    path = saved(tmp_path, x=PIXELS, ids=ids, flag=flags, labels=np.arange(5))
    samples = Samples.read(path, [IMAGE, IDS, FLAG], None)
    assert len(samples) == 5 and samples.labels(4).tolist() == [4] and samples.name(2) == f"{path}[2]"
    sample = samples[3]
    assert list(sample) == ["x", "ids", "flag"]
    assert [(a.shape, str(a.dtype)) for a in sample.values()] == [(i.shape, i.dtype) for i in (IMAGE, IDS, FLAG)]
    np.testing.assert_array_equal(sample["ids"][0], ids.reshape(5, 7)[3])
    assert sample["flag"] == flags[3]


def test_one_sample_without_an_axis(tmp_path):
    path = saved(tmp_path, x=np.zeros((3, 6, 4)), ids=np.arange(7), flag=np.array(True))
    samples = Samples.read(path, [IMAGE, IDS, FLAG], None)
    assert len(samples) == 1 and samples.name(0) == str(path)


def test_an_input_called_images_or_labels(tmp_path):
    names = [TensorInfo("images", (1, 4), "float32"), TensorInfo("labels", (1, 2), "int64")]
    samples = Samples.read(saved(tmp_path, images=np.ones((3, 4)), labels=np.ones((3, 2), int)), names, None)
    assert len(samples) == 3 and samples.labels(0) is None


@pytest.mark.parametrize(
    ("arrays", "inputs", "message"),
    [
        ({"x": PIXELS}, [IMAGE, IDS], "d.npz has the arrays x; the inputs are x, ids"),
        ({"z": PIXELS}, [IMAGE], "d.npz has the arrays z; the inputs are x"),
        ({"x": PIXELS, "ids": np.ones((4, 7), int)}, [IMAGE, IDS], "has 5 samples of x, but 4 of ids"),
        ({"x": PIXELS}, [PAIR], "x in .*d.npz has 5 images, but the network takes 2 at a time"),
        ({"images": PIXELS[:1]}, [PAIR], "d.npz has 1 image, but the network takes 2 at a time"),
        ({"images": PIXELS[:0]}, [IMAGE], "d.npz contains no images"),
        ({"x": PIXELS, "labels": np.arange(4)}, [IMAGE], r"`labels` must be 5 integers, not int64 \(4,\)"),
        ({"x": np.zeros((2, 2))}, [IMAGE], r"x in .*d.npz becomes an input of shape \(2, 2\)"),
        ({"x": np.zeros((3, 5))}, [TensorInfo("x", (4, 5), "float32")], None),
    ],
)
def test_what_does_not_fit(tmp_path, arrays, inputs, message):
    with pytest.raises(UserError, match=message or r"becomes an input of shape \(3, 5\)") as error:
        Samples.read(saved(tmp_path, **arrays), inputs, None)[0]
    assert "\n" not in str(error.value)


def test_images_for_several_inputs(tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"the network has several inputs: pass an \.npz with the arrays x, ids"):
        Samples.read(tmp_path, [IMAGE, IDS], None)


@pytest.mark.parametrize(("channels", "order"), [(3, ", in the order RGB: "), (1, ": ")])
def test_warning_of_raw_pixels(tmp_path, channels, order):
    path = saved(tmp_path, images=PIXELS[..., :channels])
    samples = Samples.read(path, [TensorInfo("x", (1, channels, 6, 4), "float32")], None)
    with pytest.warns(UserWarning, match=f"as pixels from 0 to 255{order}say how it was trained"):
        samples.warn_of_raw_pixels()


def test_warning_of_pixels_that_are_floats(tmp_path):
    """Nothing preprocesses them, whatever preprocessing was passed."""
    steps = Preprocess("RGB", (120.0,) * 3, (60.0,) * 3)
    floats = PIXELS.transpose(0, 3, 1, 2).astype(np.float32)
    samples = Samples.read(saved(tmp_path, images=floats), [IMAGE], steps)
    with pytest.warns(UserWarning, match="floats far beyond what preprocessing makes of pixels"):
        samples.warn_of_raw_pixels()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for images in ((floats - 120) / 60, PIXELS):
            Samples.read(saved(tmp_path, images=images), [IMAGE], steps).warn_of_raw_pixels()
