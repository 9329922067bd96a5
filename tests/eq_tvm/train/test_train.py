"""Training from a float network to a bundle that computes what training saw."""

import errno
import json
import os
import signal

import numpy as np
import onnx
import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm import UserError, example
from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.train import train  # noqa: E402

IMAGES = {"images": example.CALIBRATION, "preprocess": example.PREPROCESS}
WAYS = {
    "lsq": {},
    "srq": {"quantizer": "srq"},
    "drop bits": {"drop_bits": True},
    "learned bits": {"mean_bits": 3.5},
    "labels": {"labels": True, "scheme": "int6"},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_bundle_computes_what_was_trained(tmp_path, way):
    trained = train(example.MODEL, **IMAGES, epochs=2, batch=16, output=tmp_path / "net.onnx", **way)
    bundle = eq_tvm.compile(
        trained.path, preprocess=example.PREPROCESS, target="native", output=tmp_path / "net.eqtvm", verify=False
    )
    samples = Samples.read(example.EVAL, bundle.inputs, Preprocess.read(example.PREPROCESS))
    inputs = [samples[i] for i in range(len(samples))]
    model = eq_tvm.load(bundle)
    compiled = np.concatenate([model.run(each)["logits"] for each in inputs])
    with torch.no_grad():
        simulated = trained.network(torch.from_numpy(np.concatenate([each["input"] for each in inputs])))[0].numpy()
    np.testing.assert_array_equal(compiled, simulated)
    assert np.mean(compiled.argmax(1) == [samples.labels(i)[0] for i in range(len(samples))]) > 0.9


def test_training_lessens_the_loss(tmp_path):
    trained = train(example.MODEL, **IMAGES, epochs=6, batch=32, scheme="int4", output=tmp_path / "net.onnx")
    losses = [report.loss for report in trained.reports[1:]]
    assert losses[-1] < 0.8 * losses[0]


def test_learned_bits_cost_no_more(tmp_path):
    trained = train(example.MODEL, **IMAGES, epochs=2, batch=8, mean_bits=3.0, output=tmp_path / "net.onnx")
    sizes = {trained.network.problem.net.nodes[int(i)].name: w.numel() for i, w in trained.network.weights.items()}
    narrow = {
        name: bits for name, bits in trained.bits.items() if name not in ("/stem/stem.0/Conv", "/classifier/Gemm")
    }
    mean = sum(bits * sizes[name] for name, bits in narrow.items()) / sum(sizes[name] for name in narrow)
    assert 2.8 < mean <= 3.0


def test_bits_that_cost_nothing_are_kept(tmp_path):
    """On a Cortex-A76 some layers take no longer with 8 bits; the first and the last have them anyhow."""
    trained = train(
        example.MODEL, **IMAGES, epochs=1, batch=16, mean_bits=2, target="rpi5", output=tmp_path / "net.onnx"
    )
    assert list(trained.bits.values()).count(8) > 2


def test_a_network_of_pytorch(tmp_path):
    pytest.importorskip("onnxscript", reason="PyTorch's ONNX exporter needs onnxscript")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.SiLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 8, 3, groups=8),
        torch.nn.LeakyReLU(0.1),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 5),
    ).eval()
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(0).normal(size=(60, 3, 16, 16)).astype(np.float32))
    trained = train(
        net, images=images, example=torch.zeros(1, 3, 16, 16), epochs=1, batch=16, output=tmp_path / "net.onnx"
    )
    assert onnx.load(trained.path).producer_name == "eq_tvm"
    assert trained.reports[-1].agreement > 0.5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": None}, "--images"),
        ({"images": "synthetic"}, "--images synthetic"),
        ({"epochs": 0}, "--epochs"),
        ({"mean_bits": 9}, "--mean-bits"),
        ({"mean_bits": 4, "drop_bits": True}, "--drop-bits"),
        ({"target": "rpi4"}, "--mean-bits"),
        ({"scheme": "auto"}, "--scheme"),
        ({"output": "net.pt"}, "net.pt"),
        ({"seed": -1}, "--seed"),
        ({"epochs": float("inf")}, "--epochs"),
        ({"learning_rate": 1e3, "batch": 4}, "--learning-rate"),
        ({"learning_rate": 1e9, "epochs": 0.01}, "wrote nothing"),  # in the last step: no loss comes behind it
    ],
)
def test_what_is_wrong_is_said(tmp_path, monkeypatch, changed, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        train(example.MODEL, **IMAGES | changed)
    assert not list(tmp_path.iterdir())


def test_fewer_images_than_a_batch(tmp_path):
    images = tmp_path / "images.npz"
    np.savez(images, images=np.load(example.CALIBRATION)["images"][:12])
    trained = train(example.MODEL, images=images, preprocess=example.PREPROCESS, epochs=2, output=tmp_path / "net.onnx")
    assert [report.epoch for report in trained.reports] == [0, 1, 2]


def test_labels_are_classes(tmp_path):
    images = tmp_path / "images.npz"
    np.savez(images, images=np.load(example.CALIBRATION)["images"][:20], labels=np.arange(20))
    with pytest.raises(UserError, match=r"label 19.* classes 0 to 9"):
        train(example.MODEL, images=images, preprocess=example.PREPROCESS, output=tmp_path / "net.onnx")


def two_of_each(folder):
    """Numbers and an image in bytes, of any size; in windows, and a single number and scores come out."""
    nodes = [
        ("Cast", "image", "float", {"to": onnx.TensorProto.FLOAT}),
        ("Mul", "float small", "pixels", {}),
        ("Conv", "pixels a", "c", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Transpose", "c", "last", {"perm": [0, 2, 3, 1]}),
        ("Reshape", "last windows", "split", {}),
        ("MatMul", "split b", "mixed", {}),
        ("Relu", "mixed", "r", {}),
        ("Reshape", "r rows", "flat", {}),
        ("Concat", "flat vector", "both", {"axis": 1}),
        ("Gemm", "both g", "y", {}),
        ("Gemm", "both h", "z", {}),
    ]
    weights = {
        "small": np.float32(1 / 64),
        "a": random(6, 3, 2, 2),
        "windows": np.array([4, 4, 6]),
        "rows": np.array([1, -1]),
        "b": random(6, 6),
        "g": random(99, 1),
        "h": random(99, 4, seed=2),
    }
    path = folder / "two.onnx"
    inputs = {"image": (1, 3, "height", 8), "vector": (1, 3)}
    write_model(path, nodes, inputs, ["y", "z"], weights, opset=18, types={"image": onnx.TensorProto.UINT8})
    rng = np.random.default_rng(0)
    np.savez(
        folder / "two.npz",
        image=rng.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8),
        vector=rng.standard_normal((40, 3)).astype(np.float32),
    )
    return path, folder / "two.npz"


def test_several_inputs_and_outputs(tmp_path):
    """A first output of one number decides nothing, and is learned all the same."""
    path, images = two_of_each(tmp_path)
    trained = train(
        path, images=images, input_shapes={"image": (1, 3, 8, 8)}, epochs=4, batch=8, output=tmp_path / "net.onnx"
    )
    assert {report.agreement for report in trained.reports} == {None}
    losses = [report.loss for report in trained.reports[1:]]
    assert 0 < losses[-1] < losses[0]
    with pytest.raises(UserError, match="quantized already"):
        train(trained.path, images=images, output=tmp_path / "again.onnx")
    model = eq_tvm.load(eq_tvm.compile(trained.path, target="native", output=tmp_path / "net.eqtvm", verify=False))
    arrays = np.load(images)
    for i in range(5):
        inputs = {name: arrays[name][i : i + 1] for name in ("image", "vector")}
        with torch.no_grad():
            simulated = trained.network(*map(torch.from_numpy, inputs.values()))
        for computed, number in zip(model.run(inputs).values(), simulated, strict=True):
            np.testing.assert_allclose(computed, number.numpy(), rtol=1e-4, atol=1e-4)


def small(folder):
    nodes = [("Conv", "x w", "c", {}), ("Relu", "c", "r", {}), ("Flatten", "r", "f", {}), ("Gemm", "f g", "y", {})]
    path = write_model(
        folder / "small.onnx", nodes, {"x": (1, 3, 6, 6)}, ["y"], {"w": random(4, 3, 3, 3), "g": random(64, 5)}
    )
    np.savez(folder / "x.npz", x=random(40, 3, 6, 6))
    return path, {"images": folder / "x.npz", "batch": 8, "epochs": 2}


def test_ctrl_c_keeps_what_was_written(tmp_path):
    path, how = small(tmp_path)

    def interrupt(_done, message):
        if message.startswith("training: epoch 1.25"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"epoch 1.25: .*t.onnx is what it had trained at 1.00"):
        train(path, **how, output=tmp_path / "t.onnx", progress=interrupt)
    assert eq_tvm.compile(tmp_path / "t.onnx", target="native", output=tmp_path / "t.eqtvm", verify=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["small.onnx", "t.eqtvm", "t.onnx", "x.npz"]


def test_an_error_says_what_was_written(tmp_path, monkeypatch):
    path, how = small(tmp_path)

    def fill(_done, message):
        if message.startswith("training: epoch 1.25"):
            monkeypatch.setattr("eq_tvm.train.train.write_whole", no_space)

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"No space left.*; training ended at .*t.onnx is what it had trained at 1.00"):
        train(path, **how, output=tmp_path / "t.onnx", progress=fill)
    assert eq_tvm.compile(tmp_path / "t.onnx", target="native", output=tmp_path / "t.eqtvm", verify=False)


def test_resizing_rounds_while_training(tmp_path):
    """Each eighth average of an enlarged image is a tie, and each is an integer in the bundle."""
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Relu", "c", "r", {}),
        ("Resize", "r - sizes", "z", {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
        ("Conv", "z v", "y", {}),
    ]
    weights = {"w": random(4, 3, 3, 3), "v": random(5, 4, 1, 1), "sizes": np.array([1, 1, 2, 2], np.float32)}
    path = write_model(tmp_path / "net.onnx", nodes, {"x": (1, 3, 10, 10)}, ["y"], weights, opset=18)
    images = random(40, 3, 10, 10)
    np.savez(tmp_path / "x.npz", x=images)
    trained = train(path, images=tmp_path / "x.npz", epochs=1, batch=8, output=tmp_path / "t.onnx")
    model = eq_tvm.load(eq_tvm.compile(trained.path, target="native", output=tmp_path / "t.eqtvm", verify=False))
    with torch.no_grad():
        simulated = trained.network.eval()(torch.from_numpy(images))[0].numpy()
    computed = np.concatenate([model.run({"x": image[None]})["y"] for image in images])
    assert (np.abs(computed - simulated) < 1e-4).mean() > 0.999


def test_the_network_stays(tmp_path, monkeypatch):
    path, how = small(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="would replace an input"):
        train(path, **how, output=path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.trained.onnx").mkdir()
    told = []
    with pytest.raises(UserError, match="something that is no file"):
        train(path, **how, progress=lambda *_: told.append(1))
    assert path.read_bytes() == before and not told  # before anything else is done


def test_a_network_with_nothing_to_train(tmp_path):
    write_model(tmp_path / "net.onnx", [("Relu", "x", "y", {})], {"x": (1, 8)}, ["y"], {})
    np.savez(tmp_path / "x.npz", x=random(20, 8))
    with pytest.raises(UserError, match="nothing to train"):
        train(tmp_path / "net.onnx", images=tmp_path / "x.npz", output=tmp_path / "trained.onnx")


def test_labels_have_to_be_there(tmp_path):
    images = tmp_path / "images.npz"
    np.savez(images, images=np.load(example.CALIBRATION)["images"][:20])
    with pytest.raises(UserError, match="no labels"):
        train(example.MODEL, images=images, preprocess=example.PREPROCESS, labels=True, output=tmp_path / "net.onnx")


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_on_the_command_line(cli, tmp_path):
    code, stdout, _ = cli("train", "--epochs", 0.5, "--batch", 8, "--output", tmp_path / "net.onnx", "--json")
    assert code == 0
    told = json.loads(stdout)
    assert told["written"] == str(tmp_path / "net.onnx")
    assert told["bits"]["/classifier/Gemm"] == 8
    epochs = [report["epoch"] for report in told["reports"]]
    assert epochs == sorted(set(epochs)) and epochs[-1] == pytest.approx(0.5, abs=0.1)
