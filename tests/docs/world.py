"""A directory with the files that the pages speak of: small ones of the same kinds."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from as_formats import Network, folded, to_relay, to_tflite, to_torch
from blocks import blocks
from onnx_models import random, write_model
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image

TORCH = find_spec("torch") and find_spec("onnxscript")


def write_world(folder: Path) -> None:
    """Fill the directory, which is the working directory."""
    write_model(
        "net.onnx",
        [
            ("Conv", "data w b", "c", {"strides": [8, 8], "pads": [0] * 4, "group": 1, "kernel_shape": [3, 3]}),
            ("Relu", "c", "r", {}),
            ("GlobalAveragePool", "r", "p", {}),
            ("Flatten", "p", "scores", {}),
        ],
        {"data": ["batch", 3, 224, 224]},
        ["scores"],
        {"w": random(10, 3, 3, 3), "b": random(10)},
    )
    _quantize("net.onnx", "net.qdq.onnx")
    network = Network(folded(onnx.load("net.onnx")))
    to_tflite(network, Path("net.tflite"))
    to_relay(network, Path("net.relay"))
    shutil.copy("net.relay", "net.relay.json")
    if TORCH:
        import torch

        torch.export.save(torch.export.export(to_torch(network), (torch.zeros(1, 3, 224, 224),)), "net.pt2")
    (yaml,) = blocks("README.md", "yaml")
    Path("net.yaml").write_text(yaml.text)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 60, 80, 3), dtype=np.uint8)
    for place in ("images", "photos", "others", "deface"):
        Path(place).mkdir()
    places = ["images/1.png", "images/2.png", "images/3.png", "cat.jpg", "dog.jpg"]
    for name, image in zip(places, pixels, strict=True):
        Image.fromarray(image).save(name)
    for name in ("photos/1.png", "photos/2.png", "others/3.png", "group.png"):
        Image.fromarray(pixels[0]).save(name)
    Path("labelled.csv").write_text("file,label\nimages/1.png,7\nimages/2.png,0\n")
    np.save("inputs.npy", random(4, 3, 224, 224))
    _write_centerface()


def _quantize(network, quantized):
    class Noise(CalibrationDataReader):
        images = iter([{"data": random(1, 3, 224, 224, seed=i)} for i in range(2)])

        def get_next(self):
            return next(self.images, None)

    quantize_static(network, quantized, Noise())


def _write_centerface():
    """As the package's: fixed sizes that mean nothing, and maps of a quarter of the image."""
    maps = {"heat": 1, "sizes": 2, "offsets": 2, "landmarks": 10}
    write_model(
        "deface/centerface.onnx",
        [
            ("Conv", "input.1 stem", "s", {"strides": [4, 4]}),
            *(("Conv", f"s w_{name} b_{name}", name, {}) for name in list(maps)[1:]),
            ("Conv", "s w_heat b_heat", "h", {}),
            ("Sigmoid", "h", "heat", {}),
        ],
        {"input.1": [10, 3, 32, 32]},
        list(maps),
        {
            "stem": random(4, 3, 4, 4) / 255,
            **{f"w_{name}": random(channels, 4, 1, 1) for name, channels in maps.items()},
            **{f"b_{name}": random(channels) for name, channels in maps.items()},
        },
    )
    model = onnx.load("deface/centerface.onnx")
    for value in model.graph.output:  # the sizes that the file says
        channels = maps[value.name]
        del value.type.tensor_type.shape.dim[:]
        for size in (10, channels, 8, 8):
            value.type.tensor_type.shape.dim.add().dim_value = size
    onnx.save(model, "deface/centerface.onnx")
