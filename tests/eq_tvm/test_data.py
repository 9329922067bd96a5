"""Sets of images."""

import numpy as np
import pytest
from PIL import Image

from eq_tvm import data
from eq_tvm.errors import UserError

RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def save_images(folder, names, images=PIXELS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, images, strict=False):
        Image.fromarray(image).save(folder / name)


def test_npz(tmp_path):
    np.savez(tmp_path / "d.npz", images=PIXELS, labels=np.arange(5, dtype=np.uint8))
    dataset = data.read(tmp_path / "d.npz")
    np.testing.assert_array_equal(dataset.images, PIXELS)
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4] and len(dataset) == 5
    assert dataset.names[3] == f"image 3 of {tmp_path / 'd.npz'}"


def test_npz_of_network_inputs(tmp_path):
    inputs = RANDOM.standard_normal((2, 3, 6, 4), dtype=np.float32)
    np.savez(tmp_path / "d.npz", images=inputs)
    dataset = data.read(tmp_path / "d.npz")
    assert dataset.labels is None
    np.testing.assert_array_equal(dataset.input(1, (1, 3, 6, 4), None), inputs[1:])


def test_csv(tmp_path):
    save_images(tmp_path / "images", ["b.png", "a.png"])
    (tmp_path / "d.csv").write_text("source,file,label\nx,images/b.png,7\ny,images/a.png,3\n")
    dataset = data.read(tmp_path / "d.csv")
    assert dataset.labels.tolist() == [7, 3]
    np.testing.assert_array_equal(dataset.images[1], PIXELS[1])
    (tmp_path / "unlabelled.csv").write_text("\ufefffile\nimages/a.png\n", encoding="utf-8")
    assert data.read(tmp_path / "unlabelled.csv").labels is None


@pytest.mark.parametrize("columns", ["file, label", "File,Label", " FILE ,label "])
def test_columns_may_be_written_otherwise(tmp_path, columns):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "d.csv").write_text(f"{columns}\na.png, 7\n")
    assert data.read(tmp_path / "d.csv").labels.tolist() == [7]


def test_flat_directory(tmp_path):
    save_images(tmp_path, ["b.png", "a.png", ".hidden.png"])
    (tmp_path / "README.txt").write_text("no image")
    dataset = data.read(tmp_path)
    assert dataset.labels is None and [name[-5:] for name in dataset.names] == ["a.png", "b.png"]


def test_class_folders_take_turns(tmp_path):
    save_images(tmp_path / "cat", ["1.png", "2.png", "3.png"])
    save_images(tmp_path / "ant", ["1.png"])
    dataset = data.read(tmp_path)
    assert dataset.labels.tolist() == [0, 1, 1, 1]
    assert [name[-9:] for name in dataset.names] == ["ant/1.png", "cat/1.png", "cat/2.png", "cat/3.png"]


def test_folders_named_by_numbers_are_those_labels(tmp_path):
    for name in ("2", "10"):
        save_images(tmp_path / name, ["a.png"])
    assert data.read(tmp_path).labels.tolist() == [2, 10]


def test_folders_without_images_are_no_classes(tmp_path):
    for name in ("0", "2", "10"):
        save_images(tmp_path / name, ["a.png"])
    save_images(tmp_path / "__MACOSX", ["._a.png"])
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.txt").touch()
    assert sorted(data.read(tmp_path).labels) == [0, 2, 10]


def test_directories_that_leave_open_what_is_meant(tmp_path):
    save_images(tmp_path / "mixed" / "3", ["a.png"])
    save_images(tmp_path / "mixed" / "cat", ["a.png"])
    save_images(tmp_path / "stray", ["thumb.png"])
    save_images(tmp_path / "stray" / "c0", ["a.png"])
    save_images(tmp_path / "huge" / ("9" * 30), ["a.png"])
    for name, message in [
        ("mixed", r"named by numbers \(3\) and others \(cat\)"),
        ("stray", r"has images \(thumb.png\) beside folders of images \(c0\)"),
        ("huge", "the label must be a whole number from 0, not '999"),
    ]:
        with pytest.raises(UserError, match=message):
            data.read(tmp_path / name)


def test_images_that_pillow_does_not_read_are_named(tmp_path):
    save_images(tmp_path, ["a.png"])
    for name in ("b.heic", "c.SVG", "d.txt", "e"):
        (tmp_path / name).touch()
    (tmp_path / "f.png").mkdir()
    with pytest.warns(UserWarning, match="can't read b.heic and its like: 2 left out"):
        assert data.read(tmp_path).names == [str(tmp_path / "a.png")]


def test_an_unreadable_directory(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "iterdir", denied)
    with pytest.raises(UserError, match=f"can't read {tmp_path}: Permission denied"):
        data.read(tmp_path)


def test_images_are_read_one_at_a_time(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").write_bytes(b"nonsense")
    dataset = data.read(tmp_path)
    assert dataset.images[0].shape == (6, 4, 3)
    with pytest.raises(UserError, match=r"can't read the image .*b\.png: cannot identify image file"):
        dataset.images[1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": PIXELS}, "lacks the array `images`; it has: pictures"),
        ({}, "lacks the array `images`; it has: nothing"),
        ({"images": PIXELS.astype(str)}, "`images` must be uint8 NHWC or the network's inputs, not <U"),
        ({"images": np.uint8(3)}, "`images` must be uint8 NHWC or the network's inputs"),
        ({"images": PIXELS[:0]}, "contains no images"),
        ({"images": PIXELS, "labels": np.arange(4)}, r"`labels` must be 5 integers, not int64 \(4,\)"),
        ({"images": PIXELS, "labels": np.arange(5.0)}, "`labels` must be 5 integers, not float64"),
        ({"images": PIXELS, "labels": np.arange(-1, 4)}, "`labels` must be class numbers from 0, but go from -1 to 3"),
        ({"images": PIXELS, "labels": np.arange(5, dtype=np.uint64) << 61}, "`labels` must be class numbers from 0"),
        ({"images": np.array([None, {}], dtype=object)}, "can't read"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        data.read(tmp_path / "d.npz")
    assert "d.npz" in str(error.value) and "\n" not in str(error.value)


def test_damaged_npz(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, images=PIXELS)
    content = path.read_bytes()
    array = tmp_path / "array.npy"
    np.save(array, PIXELS)
    for damaged in (b"", b"text", content[:-30], content[:100] + b"\0" * 40 + content[140:], array.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"can't read .*d\.npz: ."):
            data.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column `file`; it has: nothing"),
        ("path,label\n", "lacks the column `file`; it has: path, label"),
        ("file;label\na.png;1\n", "lacks the column `file`; it has: file;label; columns are separated by commas"),
        ("file,label\n", "contains no images"),
        ("file,label\nnone.png,3\n", r"line 2: no such file: .*none\.png"),
        ("file,label\na.png,cat\n", "line 2: the label must be a whole number from 0, not 'cat'"),
        ("file,label\na.png\n", "line 2: the label must be a whole number"),
        ("file,label\na.png,-1\n", "line 2: the label must be a whole number from 0, not '-1'"),
        ("file,label\na.png,1_0\n", "line 2: the label must be a whole number"),
        (f"file,label\na.png,{'9' * 30}\n", "line 2: the label must be a whole number"),
        (f"file,label\na.png,{'9' * 5000}\n", "line 2: the label must be a whole number"),
        (f"file\n{'a' * 300}.png\n", "line 2: no such file"),
        ("file\na\0.png\n", "."),
        ("file,class\na.png,1\n", "the column with labels must be called `label`, not `class`"),
        ("file,label,label\na.png,1,2\n", "has the column `label` twice"),
        ('file,label\n"a.png,3\n', "can't read .*csv"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        data.read(tmp_path / "d.csv")
    assert "d.csv" in str(error.value) and "\n" not in str(error.value)


def test_not_utf8_csv(tmp_path):
    (tmp_path / "d.csv").write_bytes(b"file,label\n\xff\xfe.png,3\n")
    with pytest.raises(UserError, match=r"can't read .*d\.csv"):
        data.read(tmp_path / "d.csv")


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "d.txt").write_text("")
    for name, message in [
        ("none", "no such file or directory"),
        ("empty", "contains no images"),
        ("d.txt", "images come as"),
        ("x" * 300, "can't read .*: File name too long"),
    ]:
        with pytest.raises(UserError, match=message):
            data.read(tmp_path / name)


def test_real_sets(shared_data):
    faces = data.read(shared_data.path / "faces" / "calib_files.csv")
    assert faces.labels is None and faces.images[0].shape == (240, 320, 3)
    imagenet = data.read(shared_data.path / "imagenet" / "eval_labels.csv")
    assert len(imagenet) == 1200 and imagenet.images[7].shape == (224, 224, 3)
    assert data.read(shared_data.path / "cifar10" / "calib.npz").labels is not None


def test_labels_by_another_name(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 4, 4, 3), np.uint8), label=np.arange(2))
    with pytest.raises(UserError, match="the array with labels must be called `labels`, not `label`"):
        data.read(tmp_path / "d.npz")
