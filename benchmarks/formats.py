"""Quantized networks of others compiled, and those compiled here run by ONNX Runtime: how far both agree.

See docs/formats/quantized.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from agreement.figures import compare, output_step
from agreement.onnxruntime_runner import OnnxRuntime
from peers import machine
from peers.accuracy_entrants import Entrant, own, quantizers
from peers.cache import cached, key_of
from peers.models import HERE
from peers.trained import DATA, Trained, trained
from reports.formats_report import tables, write_tables

DOCUMENT = HERE.parent / "docs" / "formats" / "quantized.md"
IN, OUT = "in", "out"


def main() -> int:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(options.json.read_text())["results"] if options.json.is_file() else {}
    for network in trained(options.data, options.networks, options.images):
        if IN in options.directions and network.name in options.quantized:
            for entrant in _installed(quantizers()):
                _note(results, options, IN, network, entrant.name, partial(_in, network, entrant, options))
        if OUT in options.directions:
            for scheme in options.schemes:
                _note(results, options, OUT, network, scheme, partial(_out, network, scheme, options))
    print(tables(results))
    if options.write:
        write_tables(DOCUMENT, results, machine.made_with())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare what ONNX Runtime and eq_tvm compute of the same quantized network.",
        epilog="Example: python benchmarks/formats.py --networks resnet20_cifar10 --directions out --limit 500",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    every = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--networks", **every, help="of those in --data; by default all")
    parser.add_argument("--directions", nargs="+", choices=(IN, OUT), default=[IN, OUT])
    quantized = ["resnet20_cifar10", "mobilenet_v1_075"]
    parser.add_argument("--quantized", **every, default=quantized, help="networks for others to quantize")
    parser.add_argument("--schemes", nargs="+", default=["int8", "int7"], help="in which networks go out")
    parser.add_argument("--limit", type=int, metavar="N", help="compare only the first N images")
    parser.add_argument("--again", type=int, metavar="N", default=20, help="on so many after compiling what went out")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work", help="for what it makes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results, added to those there; in --work by default")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/formats/quantized.md")
    options = parser.parse_args()
    options.json = options.json or options.work / "formats.json"
    return options


def _installed(entrants: list[Entrant]) -> Iterator[Entrant]:
    for entrant in entrants:
        if entrant.missing():
            _say(f"{entrant.needs} is not installed: {entrant.name} skipped")
        else:
            yield entrant


def _in(network: Trained, entrant: Entrant, options: argparse.Namespace) -> dict[str, object]:
    """Of a network that another quantized."""
    import eq_tvm

    path, _ = entrant.prepare(network.task, options.work)
    bundle = options.work / f"{path.stem}-given.eqtvm"
    key = key_of(path.with_name(f"{path.name}.key").read_text(), own("int8").key(network.task))
    cached(bundle, key, lambda: eq_tvm.compile(path, output=bundle))
    images = _images(network, options)
    ours, theirs = _run(eq_tvm.load(bundle), images), _run(OnnxRuntime(path), images)
    plain = _run(OnnxRuntime(path, optimize=False), images)
    step = output_step(path)
    return {
        **compare(ours, theirs, network.data_set, step),
        "itself": compare(plain, theirs, network.data_set, step),
    }


def _out(network: Trained, scheme: str, options: argparse.Namespace) -> dict[str, object]:
    """Of a network that is quantized here."""
    import eq_tvm
    from eq_tvm.exporting.export import export

    bundle, _ = own(scheme).prepare(network.task, options.work)
    path, again = (options.work / f"{bundle.stem}{suffix}" for suffix in (".qdq.onnx", "-again.eqtvm"))
    export(bundle, path)
    key = key_of(own(scheme).key(network.task))
    cached(again, key, lambda: eq_tvm.compile(path, output=again))
    images = _images(network, options)
    ours, theirs = _run(eq_tvm.load(bundle), images), _run(OnnxRuntime(path), images)
    plain = _run(OnnxRuntime(path, optimize=False), images)
    compiled = _run(eq_tvm.load(again), images[: options.again])
    same = all(np.array_equal(b, a[: len(b)]) for a, b in zip(ours, compiled, strict=True))
    return {
        **compare(ours, theirs, network.data_set),
        "same": same,
        "itself": compare(plain, theirs, network.data_set),
    }


def _images(network: Trained, options: argparse.Namespace) -> np.ndarray:
    """The network's inputs (N, 1, ...): of each image."""
    from eq_tvm import data
    from eq_tvm.preprocess import Preprocess

    preprocess, dataset = Preprocess.read(network.task.preprocess), data.read(network.images)
    shape, count = OnnxRuntime(network.task.model).shape, min(len(dataset), options.limit or len(dataset))
    path = options.work / f"{network.name}-inputs-{count}.npy"
    key = key_of(count, shape, files=[network.images, network.task.preprocess])
    return np.load(
        cached(path, key, lambda: np.save(path, [dataset.input(i, shape, preprocess) for i in range(count)]))
    )


def _run(runner, images: np.ndarray) -> list[np.ndarray]:
    """Each output for all images (N, ...)."""
    results = [list(runner.run(image).values()) for image in images]
    return [np.concatenate(output) for output in zip(*results, strict=True)]


def _note(
    results: dict,
    options: argparse.Namespace,
    direction: str,
    network: Trained,
    row: str,
    measure: Callable[[], dict[str, object]],
) -> None:
    try:
        measured = measure()
    except Exception as e:  # of any engine
        _say(f"{network.name}: no {row}: {' '.join(str(e).split())}")
        return
    _say(f"{network.name}: {row}: {measured}")
    results.setdefault(direction, {}).setdefault(network.name, {})[row] = measured
    context = {"machine": machine.describe(), "versions": machine.versions()}
    written = options.json.with_name(f"{options.json.name}.new")
    written.write_text(json.dumps({**context, "results": results}, indent=1))
    os.replace(written, options.json)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
