"""Training of real networks; without them the test is skipped."""

import numpy as np
import pytest

from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.network import TrainedNetwork  # noqa: E402
from eq_tvm.train.start import start  # noqa: E402
from eq_tvm.train.train import train  # noqa: E402

JUDGED = 1000  # images


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({}, id="lsq"),
        pytest.param({"quantizer": "srq"}, id="srq", marks=pytest.mark.exhaustive),
        pytest.param({"mean_bits": 4.0}, id="learned bits", marks=pytest.mark.exhaustive),
    ],
)
def test_few_images_take_back_much_of_what_4_bits_lose(shared_data, tmp_path, way):
    """Of what calibration loses at 4 bits, 500 images that are seen a few times take back a quarter at least."""
    model = shared_data.models["mobilenetv2_tiny_cifar10"]
    images = shared_data.path / "cifar10" / "calib.npz"
    preprocess = Preprocess.read(model.with_suffix(".preprocess.yaml"))
    how = {"preprocess": preprocess, "scheme": "int4"}
    begun = start(model, images, **how, keep=None, progress=lambda _done, _message: None)
    trained = train(
        model, images=images, **how, epochs=6, batch=32, learning_rate=5e-4, output=tmp_path / "net.onnx", **way
    )
    samples = Samples.read(shared_data.path / "cifar10" / "eval.npz", begun.inputs, preprocess)
    inputs = torch.from_numpy(np.concatenate([samples[i]["input"] for i in range(JUDGED)]))

    def decisions(network):
        with torch.no_grad():
            return network(inputs)[0].argmax(1)

    network = TrainedNetwork(begun.problem, begun.scales)
    calibrated = decisions(network)
    network.quantized = False
    real = decisions(network)
    agreement = [(each == real).float().mean().item() for each in (calibrated, decisions(trained.network))]
    labels = torch.tensor([samples.labels(i)[0] for i in range(JUDGED)])
    right = [(each == labels).float().mean().item() for each in (real, calibrated, decisions(trained.network))]
    print(f"{way}: agreement {agreement}, top-1 of float, calibrated and trained {right}")
    assert 1 - agreement[1] < 0.75 * (1 - agreement[0])
