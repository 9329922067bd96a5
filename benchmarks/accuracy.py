"""How near quantized networks come to their float ones: eq_tvm's methods, and peers. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from peers import detection, machine
from peers.accuracy_entrants import DEFAULT, Entrant, Task, entrants
from peers.cache import cached, key_of
from peers.models import HERE
from peers.trained import DATA, FACES, Trained, trained
from reports.accuracy_report import table, write_table

DOCUMENT = HERE.parent / "docs" / "accuracy.md"


def main() -> int:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(options.json.read_text())["results"] if options.json.is_file() else {}
    chosen = _chosen(options)
    for network in trained(options.data, options.networks, options.images):
        name, task, images = network.name, network.task, network.images
        reference = outputs_of(task.model, task, images, options)
        _note(results, options, name, "float32", {**score(network, reference, reference), "seconds": 0.0})
        for entrant in chosen:
            _say(f"{name}: {entrant.name}")
            try:
                path, seconds = entrant.prepare(task, options.work)
                scores = score(network, outputs_of(path, task, images, options), reference)
            except Exception as e:  # of any engine's quantizer
                _say(f"{name}: no {entrant.name}: {' '.join(str(e).split())}")
                continue
            _note(results, options, name, entrant.name, {**scores, "seconds": seconds})
            _say(f"{name}: {entrant.name}: {', '.join(f'{what} {value:.5g}' for what, value in scores.items())}")
    print(table(results))
    if options.write:
        write_table(DOCUMENT, results, machine.made_with())
    return 0


def _options() -> argparse.Namespace:
    from eq_tvm.methods import METHODS
    from eq_tvm.options.declared import SCHEMES

    parser = argparse.ArgumentParser(
        description="Quantize trained networks, run them on labelled images, and compare with float32.",
        epilog="Example: python benchmarks/accuracy.py --networks resnet20_cifar10 --methods minmax kl --limit 500",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    every = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--networks", **every, help="of those in --data; by default all")
    methods = f"{DEFAULT} is that of compile; {', '.join(METHODS)}; with :symmetric behind, no range begins at 0"
    parser.add_argument("--methods", nargs="*", metavar="NAME", default=[DEFAULT], help=methods)
    schemes = [scheme for scheme in SCHEMES if scheme != "float32"]
    parser.add_argument("--schemes", nargs="+", choices=schemes, default=schemes, help="eq_tvm's")
    peers = ("onnxruntime", "nncf")
    parser.add_argument("--peers", nargs="*", choices=peers, default=list(peers), help="the others")
    parser.add_argument("--limit", type=int, metavar="N", help="score only the first N images")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work", help="for what it makes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results, added to those there; in --work by default")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    options = parser.parse_args()
    options.json = options.json or options.work / "accuracy.json"
    return options


def _chosen(options: argparse.Namespace) -> list[Entrant]:
    found = [e for e in entrants(options.schemes, options.methods) if e.engine in ("eq_tvm", *options.peers)]
    for entrant in found:
        if entrant.missing():
            _say(f"{entrant.needs} is not installed: {entrant.name} skipped")
    return [entrant for entrant in found if not entrant.missing()]


def outputs_of(model: Path, task: Task, images: Path, options: argparse.Namespace) -> list[np.ndarray]:
    """Each output for all images (N, ...), computed once."""
    from eq_tvm import data
    from eq_tvm.preprocess import Preprocess
    from eq_tvm.running.float_network import load_float
    from eq_tvm.running.runtime import load

    made = model.with_name(f"{model.name}.key")
    source = made.read_text() if made.exists() else key_of(files=[model])
    path = options.work / f"{model.name}-outputs-{options.limit or 'all'}.npz"

    def make() -> None:
        preprocess = Preprocess.read(task.preprocess)
        runner = load(model) if model.is_dir() else load_float(model, preprocess)
        dataset, info = data.read(images), runner.inputs[0]
        results = []
        for i in range(min(len(dataset), options.limit or len(dataset))):
            results.append(runner.run({info.name: dataset.input(i, info.shape, preprocess)}))
        np.savez(path, **{name: np.concatenate([result[name] for result in results]) for name in results[0]})

    with np.load(cached(path, key_of(source, options.limit, files=[images, task.preprocess]), make)) as outputs:
        return list(outputs.values())


def score(network: Trained, outputs: list[np.ndarray], reference: list[np.ndarray]) -> dict[str, float]:
    """Outputs for the images that judge a network, against the float network's."""
    from eq_tvm import data
    from eq_tvm.scores import Scores

    if network.data_set == FACES:  # nobody has marked the faces
        return detection.compare(*([detection.detect(*e) for e in zip(*x, strict=True)] for x in (outputs, reference)))
    scores = Scores()
    for output, expected, label in zip(outputs[0], reference[0], data.read(network.images).labels, strict=False):
        scores.add([output], label, [expected])
    return scores.result()


def _note(results: dict, options: argparse.Namespace, network: str, entrant: str, scores: dict[str, float]) -> None:
    results.setdefault(network, {})[entrant] = scores
    context = {"machine": machine.describe(), "versions": machine.versions()}
    written = options.json.with_name(f"{options.json.name}.new")
    written.write_text(json.dumps({**context, "results": results}, indent=1))
    os.replace(written, options.json)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
