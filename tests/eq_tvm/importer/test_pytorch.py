"""Networks of PyTorch: modules, exported programs and their files."""

import sys

import numpy as np
import pytest

import eq_tvm
from eq_tvm import UserError

torch = pytest.importorskip("torch", reason='PyTorch is not installed: pip install "eq_tvm[torch]"')
pytest.importorskip("onnxscript", reason="PyTorch's ONNX exporter needs onnxscript")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(8))
        self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, image):
        y = torch.relu(self.stem(image))
        y = y + torch.nn.functional.hardswish(self.depthwise(y))
        return self.head(y.mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    for _ in range(3):  # so that batch norms have statistics
        net(torch.randn(8, 3, 12, 12) * 3 + 1)
    return net


IMAGE = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def run(bundle):
    return eq_tvm.load(bundle).run(IMAGE.numpy())


def expected(module):
    with torch.no_grad():
        return module.eval()(IMAGE).numpy()


def test_module_is_compiled_for_inference_and_stays_as_it_is(net, tmp_path):
    net.train()
    net.stem.eval()
    bundle = eq_tvm.compile(net, example=IMAGE, scheme="float32", output=tmp_path / "b")
    assert net.training and not net.stem.training and net.stem[1].num_batches_tracked == 3
    assert bundle.model == "net" and [info.name for info in bundle.inputs] == ["image"]
    np.testing.assert_allclose(run(bundle.path)["output"], expected(net), rtol=1e-5, atol=1e-6)


def test_layers_are_named_as_modules(net, tmp_path):
    bundle = eq_tvm.compile(net, example=IMAGE, scheme="int8", calibration="random", output=tmp_path / "b")
    assert [layer["layer"] for layer in bundle.calibration["layers"]] == ["stem.0", "depthwise", "head"]


def test_file_gives_what_the_module_gives(net, tmp_path):
    torch.export.save(torch.export.export(net.eval(), (IMAGE,)), tmp_path / "net.pt2")
    options = {"scheme": "int8", "calibration": "random"}
    from_file = eq_tvm.compile(tmp_path / "net.pt2", output=tmp_path / "file", **options)
    from_module = eq_tvm.compile(net, example=IMAGE, output=tmp_path / "module", **options)
    assert from_file.model == "net"
    np.testing.assert_array_equal(run(from_file.path)["output"], run(from_module.path)["output"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_equals_the_same_network_from_onnx(net, tmp_path):
    """To the bit: the weights are the same, and what is folded into them is folded here."""
    file = tmp_path / "net.onnx"
    keep = torch.onnx.TrainingMode.PRESERVE  # else it folds batch norms, by a formula of its own
    torch.onnx.export(net.eval(), (IMAGE,), file, dynamo=False, training=keep, output_names=["output"])
    for scheme, calibration in (("float32", None), ("int8", "random")):
        options = {"scheme": scheme, "calibration": calibration}
        theirs = eq_tvm.compile(file, output=tmp_path / f"onnx-{scheme}", **options)
        ours = eq_tvm.compile(net, example=IMAGE, output=tmp_path / f"torch-{scheme}", **options)
        np.testing.assert_array_equal(run(ours.path)["output"], run(theirs.path)["output"])


class Several(torch.nn.Module):
    def forward(self, a, b):
        return {"sum": a + b, "both": (a * b, [a - b])}


def test_several_inputs_and_outputs(tmp_path):
    shapes = torch.ones(2, 3), np.ones((1, 3), np.float32)
    bundle = eq_tvm.compile(Several(), example=shapes, scheme="float32", output=tmp_path / "b")
    assert [info.name for info in bundle.inputs] == ["a", "b"]
    assert [info.name for info in bundle.outputs] == ["sum", "both_0", "both_1_0"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_torch_export_refuses_is_traced(tmp_path):
    module = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()))
    bundle = eq_tvm.compile(module, example=IMAGE, scheme="float32", output=tmp_path / "b")
    (output,) = run(bundle.path).values()
    np.testing.assert_allclose(output, expected(module), rtol=1e-5, atol=1e-6)


class Quantized(torch.nn.Module):
    """As pt2e quantization leaves it: a convolution between pairs."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randint(-127, 128, (4, 3, 3, 3), dtype=torch.int8, generator=random))
        self.register_buffer("scales", torch.rand(4, generator=random) * 0.01)
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))
        self.bias = torch.nn.Parameter(torch.randn(4, generator=random))

    def forward(self, x):
        pairs = torch.ops.quantized_decomposed
        weight = pairs.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -127, 127, torch.int8)
        y = torch.relu(torch.nn.functional.conv2d(self._pair(x, 0.02, 3), weight, self.bias))
        return self._pair(y, 0.05, -128)

    def _pair(self, x, scale, zero):
        pairs = torch.ops.quantized_decomposed
        q = pairs.quantize_per_tensor(x, scale, zero, -128, 127, torch.int8)
        return pairs.dequantize_per_tensor(q, scale, zero, -128, 127, torch.int8)


def test_quantized_program_keeps_its_scales(tmp_path):
    pytest.importorskip("torch.ao.quantization.fx._decomposed")
    module = Quantized()
    torch.export.save(torch.export.export(module, (IMAGE,)), tmp_path / "net.pt2")
    bundle = eq_tvm.compile(tmp_path / "net.pt2", output=tmp_path / "b")
    assert bundle.scheme == "own"
    (output,) = run(bundle.path).values()
    np.testing.assert_allclose(output, expected(module), atol=0.0501)  # one step, at ties
    assert (output != expected(module)).mean() < 0.01


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as error:
        eq_tvm.compile(*args, scheme="float32", **kwargs)
    return str(error.value)


def test_refusals(net, tmp_path):
    assert "give an example input" in refusal(net)
    assert refusal(net, example=IMAGE[:, :2]).startswith("PyTorch can't export Net: ")
    assert "leave it out" in refusal(tmp_path / "net.onnx", example=IMAGE)
    assert refusal(net.state_dict(), example=IMAGE).startswith("model must be a path, not")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("net.pt2", b"", "not what torch.export.save writes"),
        ("net.pt2", b"PK\x03\x04" + bytes(100), "not what torch.export.save writes"),
        ("net.pth", b"PK", "torch.export.save(torch.export.export(model.eval(), (example,)), 'net.pt2')"),
        ("net.keras", b"PK", "convert it with tf.lite.TFLiteConverter"),
        ("net.mlmodel", b"", "export the network as ONNX"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name) and str(tmp_path / name) in refusal(tmp_path / name)


def test_program_in_training_mode(net, tmp_path):
    torch.export.save(torch.export.export(net.train(), (IMAGE,)), tmp_path / "net.pt2")
    assert "call model.eval() before" in refusal(tmp_path / "net.pt2")


def test_without_pytorch(net, tmp_path, monkeypatch):
    torch.export.save(torch.export.export(net.eval(), (IMAGE,)), tmp_path / "net.pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert 'pip install "eq_tvm[torch]"' in refusal(tmp_path / "net.pt2")


class Repeated(torch.nn.Module):
    def forward(self, x):
        y = x * 2
        return y, None, y, x


def test_outputs_that_are_returned_twice_and_inputs(tmp_path):
    x = torch.ones(1, 3)
    bundle = eq_tvm.compile(Repeated(), example=x, scheme="float32", output=tmp_path / "b")
    assert [info.name for info in bundle.inputs] == ["x"]
    assert [info.name for info in bundle.outputs] == ["output_0", "output_2", "output_3"]
    results = eq_tvm.load(bundle).run(x.numpy())
    assert [float(value.mean()) for value in results.values()] == [2, 2, 1]
