"""What each part of LAPQ brings: agreement with float32 on images that judge. See docs/how-it-works/lapq.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from peers import machine
from peers.trained import DATA, Trained, trained
from reports.accuracy_report import put_between, table_line

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "how-it-works" / "lapq.md"
_BEGIN = "<!-- table: benchmarks/methods/lapq.py --write -->"
_BATCH = 250  # images simulated at a time

# What is done, and how long the search goes on from there.
ROWS: dict[str, dict[str, Any]] = {
    "p = 2 (`mse`)": {"norms": [2], "iterations": 0},
    "p = 3": {"norms": [3], "iterations": 0},
    "p = 4": {"norms": [4], "iterations": 0},
    "the parabola's start": {"iterations": 0},
    "Powell, iteration 1": {"iterations": 1},
    "Powell, iteration 2": {"iterations": 2},
    "Powell, 2, by relative entropy": {"iterations": 2, "measure": "entropy"},
    "gradients": {"search": "gradients"},
}
_COLUMNS = ("scales alone", "biases corrected")


def main() -> int:
    options = _options()
    lines = []
    for network in trained(options.data, options.networks, options.images):
        lines += [table_line(network.name, *_COLUMNS, "s"), table_line(*["---"] * (len(_COLUMNS) + 2))]
        lines += _rows(network, options)
        lines.append("")
    text = "\n".join([f"{options.scheme}, {options.images} images to calibrate; {machine.made_with()}", "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text.rstrip())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", metavar="NAME", default=["resnet20_cifar10"], help="of those in --data"
    )
    parser.add_argument("--scheme", default="int4", help="as eq_tvm's option")
    parser.add_argument("--limit", type=int, metavar="N", help="of the images that judge; by default all")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    return parser.parse_args()


def _rows(network: Trained, options: argparse.Namespace) -> list[str]:
    """A line for each of `ROWS`."""
    import numpy as np

    from eq_tvm import passes, pipeline
    from eq_tvm.importer import import_onnx
    from eq_tvm.inputs.samples import Samples
    from eq_tvm.options.declared import QuantizeOptions
    from eq_tvm.quantizing.images import read_images
    from eq_tvm.quantizing.quantization import Quantization
    from eq_tvm.running.float_network import load_float

    task, inputs = network.task, load_float(network.task.model).inputs
    asked = QuantizeOptions(
        task.model,
        calibration=task.calibration,
        preprocess=task.preprocess,
        scheme=options.scheme,
        images=options.images,
        method="lapq",
    )
    module = pipeline.canonicalize(import_onnx(task.model))
    how = Quantization.checked(asked).with_ends(module)
    (images,), _ = read_images(how, inputs)
    given = {module["main"].params[0].name: images}
    settings = {"scheme": how.scheme, "kept": how.kept}
    samples = Samples.read(network.images, inputs, how.preprocess)
    judged = np.arange(len(samples))[: options.limit]

    def batches():
        for start in range(0, len(judged), _BATCH):
            runs = [samples[i] for i in judged[start : start + _BATCH]]
            yield {
                name: np.stack([run[info.name][0] for run in runs]) for name, info in zip(given, inputs, strict=True)
            }

    def agreement(annotated) -> str:
        same = [
            np.equal(*(x.reshape(len(x), -1).argmax(axis=1) for x in pairs[0]))
            for pairs in passes.compare_outputs(module, annotated, batches(), **settings)
        ]
        return f"{100 * np.concatenate(same).mean():.2f}"

    lines = []
    for title, what in ROWS.items():
        cells, seconds = [], 0.0
        for corrected in (False, True):
            began = time.perf_counter()
            annotated = passes.LAPQCalibrate(given, **settings, **what, correct_bias=corrected)(module)
            seconds += time.perf_counter() - began
            cells.append(agreement(annotated))
        lines.append(table_line(title, *cells, f"{seconds / len(_COLUMNS):.0f}"))
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main())
