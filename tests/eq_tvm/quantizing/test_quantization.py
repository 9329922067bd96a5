"""Which samples find scales, and which are left over."""

from dataclasses import replace

import numpy as np
import pytest
from onnx_models import random
from rewriting import module
from tvm import relax

from eq_tvm import passes
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.options.declared import QuantizeOptions
from eq_tvm.passes import FoldBatchNorm
from eq_tvm.preprocess import Preprocess
from eq_tvm.quantizing.images import images_in, images_to_analyze, read_images
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.quantizing.synthetic import record

IMAGE, PAIR = (TensorInfo("x", (batch, 3, 6, 4), "float32") for batch in (1, 2))
IDS, FLAG = TensorInfo("ids", (1, 7), "int64"), TensorInfo("flag", (), "bool")
PIXELS = np.random.default_rng(1).integers(0, 256, (23, 6, 4, 3), dtype=np.uint8)


@pytest.fixture
def how(tmp_path):
    """How to quantize with what is in these arrays."""

    def make(preprocess=None, /, **arrays):
        (tmp_path / "net.onnx").touch()
        np.savez(tmp_path / "d.npz", **arrays)
        data = tmp_path / "d.npz" if arrays else "random"
        return Quantization.checked(
            QuantizeOptions(tmp_path / "net.onnx", calibration=data, images=4, preprocess=preprocess)
        )

    return make


def test_batch_of_one(how):
    (chosen,), rest = read_images(how(images=PIXELS, labels=np.arange(23)), (IMAGE,))
    assert chosen.shape == (4, 3, 6, 4) and len(rest) == 19
    np.testing.assert_array_equal(chosen, PIXELS[[0, 7, 15, 22]].transpose(0, 3, 1, 2))
    assert [int(*label) for label in rest.labels] == [i for i in range(23) if i not in (0, 7, 15, 22)]
    batches = [batch for (batch,) in rest.batches()]
    assert [len(batch) for batch in batches] == [8, 8, 3]
    np.testing.assert_array_equal(batches[0][0], PIXELS[1].transpose(2, 0, 1))


def test_larger_batch(how):
    given = how(images=PIXELS, labels=np.arange(23))
    (chosen,), rest = read_images(given, (PAIR,))
    assert chosen.shape == (2, 2, 3, 6, 4) and images_in([chosen], given, (PAIR,)) == 4  # images, not batches
    assert len(rest) == 9 and rest.images == 18
    np.testing.assert_array_equal(chosen[-1], PIXELS[20:22].transpose(0, 3, 1, 2))
    assert rest.labels[0].tolist() == [2, 3]
    assert next(rest.batches())[0].shape == (8, 2, 3, 6, 4)
    large = TensorInfo("x", (5, 3, 6, 4), "float32")  # which takes more at a time than are asked for
    (chosen,), rest = read_images(how(images=PIXELS), (large,))
    assert len(chosen) == 1 and images_in([chosen], given, (large,)) == 5


@pytest.mark.parametrize("typical", [4, 0])
def test_synthetic_images_fill_a_larger_batch(typical, tmp_path):
    """They are counted as those that are given."""
    (tmp_path / "net.onnx").touch()
    np.savez(tmp_path / "d.npz", images=PIXELS)
    given = {"calibration": tmp_path / "d.npz", "images": typical} if typical else {}
    how = Quantization.checked(QuantizeOptions(tmp_path / "net.onnx", synthesize=6, **given))
    weight = relax.const(random(4, 3, 3, 3))
    network = module(lambda x: relax.op.nn.conv2d(x, weight), PAIR.shape)
    (arrays,), _ = read_images(how, (PAIR,), network)
    assert arrays.shape == ((typical + 6) // 2, *PAIR.shape) and images_in([arrays], how, (PAIR,)) == typical + 6
    samples = how.samples_of(how.synthesized, (PAIR,))
    assert record(network, samples, how.images_each((PAIR,)), beside_typical=bool(typical))["images"] == 6


def test_several_inputs(how):
    ids, flags = np.arange(23 * 7).reshape(23, 7), np.arange(23) % 2 == 0
    given = how(x=PIXELS, ids=ids, flag=flags)
    arrays, rest = read_images(given, (IMAGE, IDS, FLAG))
    assert [(a.shape, str(a.dtype)) for a in arrays] == [
        ((4, 3, 6, 4), "float32"),
        ((4, 7), "int64"),
        ((4,), "bool"),
    ]
    np.testing.assert_array_equal(arrays[1], ids[[0, 7, 15, 22]])
    named = dict(zip(("x", "ids", "flag"), arrays, strict=True))
    analyzed = images_to_analyze(rest, named, 10)
    assert list(analyzed) == list(named) and {len(a) for a in analyzed.values()} == {10}
    assert images_to_analyze(rest.some(3), named, 10) is named


@pytest.mark.parametrize("preprocess", [None, Preprocess("RGB", (128.0,) * 3, (1.0,) * 3)])
def test_noise(how, preprocess):
    byte, nhwc = TensorInfo("b", (1, 5, 5, 5), "uint8"), TensorInfo("i", (1, 6, 4, 3), "int8")
    infos = (IMAGE, PAIR, IDS, FLAG, byte, nhwc)
    arrays, rest = read_images(how(preprocess), infos)
    assert rest is None
    for array, info in zip(arrays, infos, strict=True):
        assert array.shape == (4, *(info.shape[1:] if info.shape[:1] == (1,) else info.shape))
        assert array.dtype == info.dtype
    assert set(arrays[2].ravel()) == {0, 1} and arrays[4].max() > 200
    assert not np.array_equal(arrays[0], arrays[1][:, 0])


def test_fewer_images_where_they_are_large_unless_a_number_was_asked_for(how, monkeypatch):
    monkeypatch.setattr(passes, "affordable_images", lambda module: 3)
    asked, told = how(images=PIXELS), []
    assert asked.affordable(None, None) is asked
    by_default = replace(asked, as_affordable=True)
    fewer = by_default.affordable(None, lambda done, message: told.append(message))
    assert fewer.images == 3
    assert told == ["calibrating with 3 images, as they are large: --images takes more"]
    monkeypatch.setattr(passes, "affordable_images", lambda module: 4)
    assert by_default.affordable(None, None) is by_default


@pytest.mark.parametrize(
    ("given", "images", "synthesized"),
    [
        ({"calibration": "d.npz"}, 50, 50),
        ({"calibration": "d.npz", "images": 10}, 10, 10),
        ({"calibration": "d.npz", "synthesize": 7}, 50, 7),
        ({}, 50, 50),
        ({"images": 8}, 8, 8),
    ],
    ids=str,
)
def test_fdda_is_the_default_by_blocks_on_synthetic_images_as_well(given, images, synthesized, tmp_path):
    (tmp_path / "net.onnx").touch()
    options = QuantizeOptions(tmp_path / "net.onnx", scheme="int4", method="fdda", **given)
    how = Quantization.checked(options)
    assert (how.method, how.refine, how.is_open) == ("mse+", "blocks", False)
    assert (how.images, how.synthesized, how.is_synthetic) == (images, synthesized, "calibration" not in given)


def test_fdda_refines_no_layers(tmp_path):
    (tmp_path / "net.onnx").touch()
    with pytest.raises(UserError, match="leave out --refine layers"):
        Quantization.checked(QuantizeOptions(tmp_path / "net.onnx", method="fdda", refine="layers"))


def test_fdda_learns_nothing_from_noise(tmp_path):
    (tmp_path / "net.onnx").touch()
    with pytest.raises(UserError, match="leave out --calibration random"):
        Quantization.checked(QuantizeOptions(tmp_path / "net.onnx", calibration="random", method="fdda"))


@pytest.mark.parametrize(
    "given, normalized, method",
    [
        ({}, False, "minmax+"),
        ({}, True, "mse+"),
        ({"method": "mse+"}, False, "mse+"),
        ({"calibration": "images", "synthesize": 5}, False, "mse+"),
        ({"calibration": "random"}, False, "minmax"),
    ],
    ids=str,
)
def test_ranges_are_cautious_where_images_are_only_drawn(given, normalized, method, tmp_path):
    weight = relax.const(random(4, 3, 3, 3))
    norm = [relax.const(np.full(4, value, "float32")) for value in (1.5, 0.1, 0.2, 0.7)]

    def network(x):
        y = relax.op.nn.conv2d(x, weight)
        return relax.TupleGetItem(relax.op.nn.batch_norm(y, *norm, axis=1, training=False), 0) if normalized else y

    (tmp_path / "net.onnx").touch()
    how = Quantization.checked(QuantizeOptions(tmp_path / "net.onnx", **given))
    assert how.cautious(FoldBatchNorm()(module(network, (1, 3, 8, 8))), (IMAGE,)).method == method


@pytest.mark.parametrize(
    "given, refine, for_rows",
    [
        ({"calibration": "random"}, "rows", True),
        ({"calibration": "random", "method": "minmax"}, "rows", True),
        ({"calibration": "random", "method": "kl+"}, "layers", True),
        ({"calibration": "images"}, "layers", True),
        ({"calibration": "images", "method": "minmax"}, "layers", False),
        ({"calibration": "images", "refine": "blocks"}, "blocks", False),
    ],
)
def test_speed_that_is_measured_without_images_is_that_of_calibrated_networks(tmp_path, given, refine, for_rows):
    (tmp_path / "net.onnx").touch()
    how = Quantization.checked(QuantizeOptions(tmp_path / "net.onnx", **given))
    assert (how.refine, how.for_rows) == (refine, for_rows)
