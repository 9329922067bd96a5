"""What a detector finds on an image: boxes with names, on the image and in words.

    python detector.py --model detector.onnx --calibration images/ --preprocess net.yaml --labels coco street.jpg
    python detector.py

YOLO-type, SSD-type and CenterFace-type heads are recognized by their outputs' shapes (docs/using/tasks.md). Without
arguments a detector is made on the spot that finds bright spots: its weights are written by hand. Writes found.png and
detector-native.eqtvm.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

import eq_tvm
from eq_tvm.inputs.image_files import read_image
from eq_tvm.preprocess import Preprocess
from eq_tvm.tasks.labels import read_labels
from eq_tvm.tasks.seen import View


def main() -> None:
    """Compile, run, decode, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("--model", help="ONNX file of a detector")
    parser.add_argument("--calibration", help="some 50 typical images")
    parser.add_argument("--preprocess", help="how pixels become its input")
    parser.add_argument("--labels", help="coco, or a file of names")
    parser.add_argument("--above", type=float, default=0.5, help="the least score (default: %(default)s)")
    given = parser.parse_args()
    if given.image is not None and given.model is None:
        parser.error("which detector? --model FILE.onnx")
    if given.model is None:
        given = argparse.Namespace(**vars(given) | _spots())

    preprocess = Preprocess.read(given.preprocess)
    options = {"calibration": given.calibration, "preprocess": preprocess, "output": "detector-native.eqtvm"}
    model = eq_tvm.load(eq_tvm.compile(given.model, **options))
    image = read_image(given.image)
    names = read_labels(given.labels) if given.labels else None
    view = View(names=names, labels=given.labels or "", above=given.above)
    seen = view.see(model.run(image), preprocess.placement(*image.shape[:2]))
    print(*seen.lines, sep="\n")
    seen.drawn_on(image).save("found.png")
    print("drawn: found.png")


def _spots() -> dict:
    """A detector of bright spots in the form of CenterFace's outputs, with images of such."""
    weight = np.full((1, 3, 8, 8), 1 / 192, np.float32)  # a pixel's brightness, over the neighbours
    maps = [np.full((2, 3, 1, 1), 0, np.float32), np.full((2, 3, 1, 1), 0, np.float32)]
    biases = [np.log([4, 4]).astype(np.float32), np.zeros(2, np.float32)]  # of sizes, as logarithms, and of offsets
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["bright"], strides=[4, 4], pads=[2, 2, 2, 2]),
        helper.make_node("Mul", ["bright", "gain"], ["contrast"]),
        helper.make_node("Add", ["contrast", "floor"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["heatmap"]),
        helper.make_node("Conv", ["x", "ws", "bs"], ["sizes"], strides=[4, 4]),
        helper.make_node("Conv", ["x", "wo", "bo"], ["offsets"], strides=[4, 4]),
    ]
    constants = {"w": weight, "gain": np.float32([20]), "floor": np.float32([-14]), "ws": maps[0], "wo": maps[1]}
    constants |= {"bs": biases[0], "bo": biases[1]}
    outputs = {"heatmap": 1, "sizes": 2, "offsets": 2}
    graph = helper.make_graph(
        nodes,
        "spots",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, c, 16, 24]) for name, c in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "spots.onnx")
    Path("spots.yaml").write_text("channels: RGB\nmean: [0, 0, 0]\nstd: [255, 255, 255]\nresize: [64, 96]\n")
    random, images = np.random.default_rng(0), np.zeros((20, 64, 96, 3), np.uint8)
    for image in images:
        for y, x in zip(random.integers(0, 15, 3), random.integers(0, 23, 3), strict=True):
            image[4 * y : 4 * y + 12, 4 * x : 4 * x + 12] = random.integers(150, 256)
    np.savez("spots.npz", images=images[:16])
    Image.fromarray(images[17]).resize((480, 320)).save("spots.png")
    Path("spots.txt").write_text("spot\n")
    files = {"model": "spots.onnx", "calibration": "spots.npz", "preprocess": "spots.yaml", "labels": "spots.txt"}
    return files | {"image": Path("spots.png")}


if __name__ == "__main__":
    try:
        main()
    except eq_tvm.UserError as error:
        sys.exit(f"error: {error}")
