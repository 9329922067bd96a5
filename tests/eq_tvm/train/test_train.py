"""Training from a float network to a bundle that computes what training saw."""

import json

import numpy as np
import onnx
import pytest

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
    assert (compiled.argmax(1) == simulated.argmax(1)).mean() >= 0.995
    # In most images not one integer differs; in others a near tie is rounded otherwise, and what follows it differs.
    assert (np.abs(compiled - simulated).max(1) < 1e-4).mean() > 0.75
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
        ({"epochs": 0}, "--epochs"),
        ({"mean_bits": 9}, "--mean-bits"),
        ({"mean_bits": 4, "drop_bits": True}, "--drop-bits"),
        ({"target": "rpi4"}, "--mean-bits"),
        ({"scheme": "auto"}, "--scheme"),
        ({"output": "net.pt"}, "net.pt"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, monkeypatch, changed, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        train(example.MODEL, **IMAGES | changed)
    assert not list(tmp_path.iterdir())


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
