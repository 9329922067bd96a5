"""Train the embedded example network and write `digits.onnx`, `digits_calibration.npz` and `digits_eval.npz`.

To run it again (about three minutes on two cores), from a checkout:

    pip install -e . torch onnxscript scikit-learn onnxruntime
    python -m eq_tvm.example.train [--output DIR]

The files are committed, so nothing else needs PyTorch or scikit-learn. Everything is seeded and runs in two threads:
the images come out the same everywhere, the weights up to the rounding of the machine's float kernels.

Data: scikit-learn's digits (8x8 grey, 1797 images, from UCI's "Optical Recognition of Handwritten Digits", CC BY 4.0),
split once into training, calibration and evaluation, drawn at 28x28 in random colours, positions and contrast.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import yaml
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from eq_tvm import example

SEED, THREADS = 2006, 2
SIZE = 28  # 28, 14, 7, 4 pixels down the network: no tile size divides them all
CALIBRATION_IMAGES, EVAL_IMAGES = 64, 240
EPOCHS, BATCH, PEAK_RATE = 40, 64, 4e-3


def main() -> None:
    """Train it, and write the network and both sets of images."""
    parser = argparse.ArgumentParser(description="Train the embedded example network and write its files.")
    parser.add_argument("--output", type=Path, default=example.MODEL.parent, help="folder for the three files")
    folder = parser.parse_args().output
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)

    (x_train, y_train), calibration, evaluation = _split()
    for path, (glyphs, labels), seed in ((example.CALIBRATION, calibration, 1), (example.EVAL, evaluation, 2)):
        images = draw(glyphs, torch.Generator().manual_seed(SEED + seed))
        np.savez_compressed(folder / path.name, images=images.permute(0, 2, 3, 1).numpy(), labels=labels.numpy())
    x_eval, y_eval = images, labels

    network = DigitsNet()
    train(network, x_train, y_train)
    with torch.no_grad():
        correct = (network(_normalize(x_eval)).argmax(1) == y_eval).sum().item()
    print(f"evaluation: {correct} of {len(y_eval)} correct")
    export(network, folder / example.MODEL.name)


class DigitsNet(nn.Module):
    """A small network that has every kind of layer the compiler has a kernel for; about 10 million MACs.

    20, 12 and 40 channels do not fill whole vector registers; the pooled branch averages fewer pixels at the border.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 16)
        self.residual1 = Residual(16, 16)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.branch_conv = _conv(16, 20)
        self.branch_pool = nn.Sequential(
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), _conv(16, 12, kernel=1)
        )
        self.residual2 = Residual(32, 32)
        self.residual3 = Residual(32, 40, stride=2)
        self.inverted1 = InvertedResidual(40, 40)
        self.inverted2 = InvertedResidual(40, 48, stride=2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, 28, 28) -> scores (N, 10)."""
        x = self.pool(self.residual1(self.stem(x)))
        x = torch.cat([self.branch_conv(x), self.branch_pool(x)], dim=1)
        x = self.residual3(self.residual2(x))
        x = self.average(self.inverted2(self.inverted1(x)))
        return self.classifier(torch.flatten(x, 1))


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a strided 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, stride=stride)
        self.conv2 = _conv(outputs, outputs, activation=None)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, kernel=1, stride=stride, activation=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        hidden = 2 * inputs
        self.expand = _conv(inputs, hidden, kernel=1, activation=nn.ReLU6)
        self.depthwise = _conv(hidden, hidden, stride=stride, groups=hidden, activation=nn.ReLU6)
        self.project = _conv(hidden, outputs, kernel=1, activation=None)
        self.has_shortcut = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


def draw(glyphs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw 8x8 digits at 28x28, each turned, scaled, shifted, coloured and made noisy at random.

    Parameters
    ----------
    glyphs : float32 (N, 1, 8, 8), ink in 0..1.

    Returns
    -------
    images : uint8 (N, 3, 28, 28).
    """

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(glyphs), *shape, generator=generator)

    angle, zoom = uniform(-0.2, 0.2), uniform(0.95, 1.25)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrix = torch.stack([cos, -sin, uniform(-0.15, 0.15), sin, cos, uniform(-0.15, 0.15)], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, [len(glyphs), 1, SIZE, SIZE], align_corners=False)
    ink = F.grid_sample(glyphs, grid, mode="bicubic", align_corners=False).clamp(0, 1)

    paper = uniform(0, 255, 3, 1, 1)
    contrast = uniform(70, 160, 3, 1, 1)
    colour = torch.where(paper < 127.5, paper + contrast, paper - contrast)
    noise = 8 * torch.randn(len(glyphs), 1, SIZE, SIZE, generator=generator)
    pixels = torch.lerp(paper, colour, ink) + noise
    # steps of 16 halve the committed files and cost no accuracy
    return (16 * (pixels / 16).round()).clamp(0, 255).to(torch.uint8)


def train(network: nn.Module, glyphs: torch.Tensor, labels: torch.Tensor) -> None:
    """Train in place with AdamW and a one-cycle learning rate, drawing the digits anew in every epoch."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    steps = len(glyphs) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=EPOCHS * steps)
    network.train()
    for epoch in range(EPOCHS):
        inputs = _normalize(draw(glyphs, generator))
        order = torch.randperm(len(glyphs), generator=generator)
        total = 0.0
        for batch in order[: steps * BATCH].split(BATCH):
            loss = F.cross_entropy(network(inputs[batch]), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / steps:.3f}", flush=True)
    network.eval()


def export(network: DigitsNet, path: Path) -> None:
    """Write the ONNX file: batch norm folded in the stem and the residual blocks, left as it is everywhere else.

    Both occur in real files. PyTorch folds all of it or, with `PRESERVE`, none, so the folded part is folded here. Its
    newer exporter (`dynamo=True`) can't write opset 17 and makes a chain of Reshape and ReduceMean of the pooling.
    """
    for part in (network.stem, network.residual1, network.residual2, network.residual3):
        for block in [m for m in part.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]:
            block[0], block[1] = fuse_conv_bn_eval(block[0], block[1]), nn.Identity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's age and the training mode, both on purpose
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, SIZE, SIZE),),
            path,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def _conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([activation()] if activation else []))


def _split() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Training, calibration and evaluation parts of the digits: ink float32 (N, 1, 8, 8) in 0..1, labels int64 (N,)."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    glyphs = torch.tensor(digits.images[order] / 16, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target[order], dtype=torch.int64)
    sizes = [len(order) - CALIBRATION_IMAGES - EVAL_IMAGES, CALIBRATION_IMAGES, EVAL_IMAGES]
    return list(zip(glyphs.split(sizes), labels.split(sizes), strict=True))


def _normalize(images: torch.Tensor) -> torch.Tensor:
    """Apply `preprocess.yaml` to uint8 (N, 3, H, W)."""
    preprocess = yaml.safe_load(example.PREPROCESS.read_text())
    mean, std = (torch.tensor(preprocess[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images.float() - mean) / std


if __name__ == "__main__":
    main()
