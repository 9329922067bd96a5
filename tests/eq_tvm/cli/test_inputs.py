"""Every command on networks whose inputs and outputs are not float32 images in NCHW."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from eq_tvm.preprocess import Preprocess

RANDOM = np.random.default_rng(4)
IMAGES = RANDOM.integers(0, 256, (6, 8, 6, 3), dtype=np.uint8)
WEIGHTS = {
    "w": RANDOM.standard_normal((5, 3, 3, 3)).astype(np.float32),
    "m": RANDOM.standard_normal((4, 5)).astype(np.float32),
}
CONVOLUTION = [("Conv", "t w", "c"), ("Relu", "c", "r"), ("GlobalAveragePool", "r", "p"), ("Flatten", "p", "y")]
FROM_NHWC = ("Transpose", "f", "t", {"perm": [0, 3, 1, 2]})
NETWORKS = {  # nodes, inputs, outputs
    "nhwc": ([("Identity", "x", "f"), FROM_NHWC, *CONVOLUTION], {"x": ("float32", (1, 8, 6, 3))}, ["y"]),
    "bytes": ([("Cast", "x", "t", {"to": 1}), *CONVOLUTION], {"x": ("uint8", (1, 3, 8, 6))}, ["y"]),
    "nhwc_bytes": ([("Cast", "x", "f", {"to": 1}), FROM_NHWC, *CONVOLUTION], {"x": ("uint8", (1, 8, 6, 3))}, ["y"]),
    "batch": ([("Identity", "x", "t"), *CONVOLUTION], {"x": ("float32", (2, 3, 8, 6))}, ["y"]),
    "two": (
        [*CONVOLUTION, ("Cast", "ids", "f", {"to": 1}), ("MatMul", "f m", "fm"), ("Add", "y fm", "s")],
        {"t": ("float32", (1, 3, 8, 6)), "ids": ("int64", (1, 4))},
        ["s"],
    ),
    "flag": (
        [
            *CONVOLUTION,
            ("Neg", "y", "n"),
            ("Where", "b y n", "s"),
            ("Cast", "k", "f", {"to": 1}),
            ("Mul", "s f", "z"),
        ],
        {"t": ("float32", (1, 3, 8, 6)), "b": ("bool", (1, 5)), "k": ("float64", ())},
        ["z"],
    ),
    "decides": (
        [
            *CONVOLUTION,
            ("ArgMax", "y", "a", {"axis": 1, "keepdims": 0}),
            ("ReduceMax", "y", "file", {"keepdims": 0}),
            ("Greater", "y file", "g"),
        ],
        {"t": ("float32", (1, 3, 8, 6))},
        ["a", "file", "g"],
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    np.savez("images.npz", images=IMAGES, labels=np.arange(6) % 5)
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(f"{i}.png")
    return tmp_path


def write(name):
    nodes, inputs, outputs = NETWORKS[name]
    made = [helper.make_node(n[0], n[1].split(), [n[2]], **(n[3] if len(n) > 3 else {})) for n in nodes]
    types = {dtype: helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype, _ in inputs.values()}
    graph = helper.make_graph(
        made,
        name,
        [helper.make_tensor_value_info(key, types[dtype], shape) for key, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info(key, TensorProto.UNDEFINED, None) for key in outputs],
        [numpy_helper.from_array(array, key) for key, array in WEIGHTS.items()],
    )
    for value, dtype in zip(
        graph.output, {"decides": ("int64", "float32", "bool")}.get(name, ("float32",)), strict=True
    ):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), f"{name}.onnx")
    return inputs


def samples(inputs, count=4):
    """Arrays by the inputs' names: so many samples of each."""
    arrays = {}
    for key, (dtype, shape) in inputs.items():
        shape = (count, *(shape[1:] if shape[:1] == (1,) else shape))
        numbers = 3 * RANDOM.standard_normal(shape) if dtype.startswith("float") else RANDOM.integers(0, 2, shape)
        arrays[key] = numbers.astype(dtype)
    return arrays


@pytest.mark.parametrize("name", NETWORKS)
def test_arrays(cli, folder, name):
    inputs = write(name)
    arrays = samples(inputs)
    np.savez("x.npz", **arrays)
    code, _, err = cli("compile", f"{name}.onnx", "--scheme", "float32", "--output", "b")
    assert code == 0, err
    code, _, err = cli("run", "b", "--input", "x.npz", "--output", "y.npz")
    assert code == 0, err
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    feeds = [{key: np.reshape(arrays[key][i : i + 1], shape) for key, (_, shape) in inputs.items()} for i in range(4)]
    expected = [session.run(None, feed) for feed in feeds]
    with np.load("y.npz") as results:
        for key, *wanted in zip(NETWORKS[name][2], *expected, strict=True):
            wanted = np.concatenate(list(map(np.atleast_1d, wanted)))
            assert results[key].dtype == wanted.dtype
            np.testing.assert_allclose(results[key], wanted, rtol=1e-4, atol=1e-4)
    code, out, err = cli("evaluate", "b", "--data", "x.npz", "--reference", f"{name}.onnx", "--json")
    assert code == 0, err
    assert json.loads(out)["agreement"] == 1.0 and json.loads(out)["cosine"] == pytest.approx(1)
    assert cli("bench", "b", "--seconds", 0.01)[0] == 0


@pytest.mark.parametrize("name", ["nhwc", "bytes", "nhwc_bytes", "batch", "decides"])
def test_images(cli, folder, name):
    write(name)
    assert cli("compile", f"{name}.onnx", "--scheme", "float32", "--output", "b")[0] == 0
    code, _, err = cli("run", "b", "--input", *(f"{i}.png" for i in range(6)), "--output", "y.npz")
    assert code == 0, err
    write("batch")
    session = onnxruntime.InferenceSession("batch.onnx", providers=["CPUExecutionProvider"])
    pixels = IMAGES.transpose(0, 3, 1, 2).astype(np.float32)
    expected = np.concatenate([session.run(None, {"x": pixels[i : i + 2]})[0] for i in (0, 2, 4)])
    with np.load("y.npz") as results:
        if name == "decides":
            np.testing.assert_array_equal(results["a"], expected.argmax(1))
            np.testing.assert_allclose(results["file"], expected.max(1), rtol=1e-4)
        else:
            np.testing.assert_allclose(results["y"], expected, rtol=1e-4, atol=1e-2)
    code, out, err = cli("evaluate", "b", "--data", "images.npz", "--reference", f"{name}.onnx", "--json")
    assert code == 0, err
    top1 = (expected.argmax(1) == np.arange(6) % 5).mean()
    result = json.loads(out)
    assert result.pop("float_top1") == result["top1"]
    assert result.pop("top5") is None  # there are five classes
    assert result == {"top1": pytest.approx(top1), "agreement": 1.0, "cosine": pytest.approx(1), "n": 6}


def test_the_layout_stays_in_the_bundle(cli, folder):
    from eq_tvm.artifacts import bundle as bundles

    write("nhwc")
    (folder / "p.yaml").write_text("{channels: BGR, mean: [1, 2, 3], std: [4, 5, 6], layout: NHWC}")
    arguments = ("--scheme", "float32", "--preprocess", "p.yaml", "--output", "b")
    assert cli("compile", "nhwc.onnx", *arguments)[0] == 0
    assert bundles.read("b").preprocess == Preprocess("BGR", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), layout="NHWC")
    assert cli("run", "b", "--input", "0.png")[0] == 0


def test_what_does_not_fit(cli, refused, folder):
    write("batch")
    write("two")
    write("bytes")
    for name in ("batch", "two", "bytes"):
        assert cli("compile", f"{name}.onnx", "--scheme", "float32", "--output", name)[0] == 0
    np.save("floats.npy", np.zeros((3, 8, 6), np.float32))
    left = "0.png, 1.png, 2.png: the network takes 2 images at a time; 1 is left"
    refused(left, "run", "batch", "--input", "0.png", "1.png", "2.png")
    refused("0.png is one input; the network has 2: pass an .npz with t, ids", "run", "two", "--input", "0.png")
    refused("the network has several inputs: pass an .npz", "evaluate", "two", "--data", folder)
    refused("x in floats.npy is float32, but the network takes uint8", "run", "bytes", "--input", "floats.npy")


def test_an_animation_is_told_in_one_line(cli, folder):
    write("nhwc")
    assert cli("compile", "nhwc.onnx", "--scheme", "float32", "--output", "b")[0] == 0
    Image.fromarray(IMAGES[0]).save("a.gif", save_all=True, append_images=[Image.fromarray(IMAGES[1])])
    with pytest.warns(UserWarning, match="the first one is taken"):
        assert cli("run", "b", "--input", "a.gif")[0] == 0
