"""What each step of quantization brings, on calibration images that take no part in it. See ../docs/accuracy.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from accuracy import DOCUMENT
from peers import machine
from peers.trained import DATA, FACES, Trained, trained
from reports.accuracy_report import put_between, table_line

_BEGIN = "<!-- table: benchmarks/steps.py --write -->"


def main() -> int:
    options = _options()
    lines = []
    for network in trained(options.data, options.networks, options.images):
        if network.data_set == FACES:
            continue
        errors = dict(_errors(network, options))
        if not lines:
            lines = [table_line("", *errors), table_line(*["---"] * (1 + len(errors)))]
        lines.append(table_line(network.name, *(f"{1000 * error:.2f}" for error in errors.values())))
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join([f"{options.scheme}, {options.limit} images; {machine.made_with()}", "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of those in --data; by default all classifiers")
    parser.add_argument("--scheme", default="int7", help="as eq_tvm's option")
    parser.add_argument("--limit", type=int, metavar="N", default=100, help="held-out images")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    return parser.parse_args()


def _errors(network: Trained, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """For each sequence of steps the mean of 1 - cosine between centred scores, float and simulated."""
    import numpy as np

    from eq_tvm import passes, pipeline
    from eq_tvm.importer import import_onnx
    from eq_tvm.options.declared import QuantizeOptions
    from eq_tvm.passes.analysis.compare_outputs import compare_outputs
    from eq_tvm.quantizing.images import read_images
    from eq_tvm.quantizing.quantization import Quantization

    task = network.task
    how = Quantization.checked(
        QuantizeOptions(
            task.model,
            calibration=task.calibration,
            preprocess=task.preprocess,
            scheme=options.scheme,
            images=options.images,
        )
    )
    module = pipeline.canonicalize(import_onnx(task.model))
    (images,), rest = read_images(how, _inputs(task.model))
    name = module["main"].params[0].name
    batches = [{name: batch} for (batch,) in rest.some(options.limit).batches()]
    expected = None

    def error(start, annotated) -> float:
        nonlocal expected
        pairs = [batch[0] for batch in compare_outputs(start, annotated, batches, scheme=options.scheme)]
        if expected is None:  # of the original network, which equalization changes a little behind clips
            expected = np.concatenate([reference for reference, _ in pairs])
        quantized = np.concatenate([q for _, q in pairs])
        return 1 - np.mean([_cosine(*pair) for pair in zip(expected, quantized, strict=True)])

    given = {name: images}

    def refined(start):
        annotated = passes.MSECalibrate(given, scheme=options.scheme)(start)
        return passes.RoundWeights(start, given, scheme=options.scheme)(annotated)

    for method in ("minmax", "easyquant", "mse"):
        annotated = pipeline.CALIBRATIONS[method](given, scheme=options.scheme)(module)
        yield method, error(module, annotated)
    yield "mse, CorrectBias", error(module, passes.CorrectBias(module, given, scheme=options.scheme)(annotated))
    yield "mse, RoundWeights", error(module, refined(module))
    prepared = passes.EqualizeChannels(given, scheme=options.scheme)(module)
    yield "EqualizeChannels, mse, RoundWeights", error(prepared, refined(prepared))
    prepared = pipeline.prepare(module, given, scheme=options.scheme, method="mse+")
    yield "CenterChannels, EqualizeChannels, mse, RoundWeights", error(prepared, refined(prepared))


def _inputs(model: Path):
    from eq_tvm.running.float_network import load_float

    return load_float(model).inputs


def _cosine(a, b) -> float:
    import numpy as np

    a, b = (x.ravel().astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


if __name__ == "__main__":
    sys.exit(main())
