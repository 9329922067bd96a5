"""How long calibration takes, and how much memory. See README.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from peers.machine import describe, peak_memory
from peers.models import HERE, float_model
from peers.networks import NETWORKS
from peers.trained import DATA, trained
from shipped.package import read_shelf, without_batch

# seconds, at most
ASKED = {"squeezenet1_1": 30, "mobilenet_v1_075": 30, "resnet56_cifar10": 20, "resnet50": 180, "deit_small": 90}


def main() -> int:
    options = _options()
    titles = "network | images | wall s | processor s | peak MB | before, MB | longest silence, s | asked, wall s"
    print(f"| {titles} |\n|{'---|' * 8}")
    # a process for each, as the peak of memory is one of a process
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in options.networks:
            row = pool.submit(_calibrate, name, options).result()
            print(
                f"| {name} | {row['images']} | {row['wall']:.1f} | {row['processor']:.1f} | {row['peak'] / 1e6:.0f} "
                f"| {row['before'] / 1e6:.0f} | {row['silence']:.1f} | {ASKED.get(name, 60)} |",
                flush=True,
            )
    machine = describe()
    print(f"\n{options.method}, {options.scheme}, {date.today()}", end="; ")
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = (
        "trained ones of --data; of shelf.yaml, with @480x640 behind for another size; ONNX files, with random inputs; "
        f"or with random weights and images: {', '.join(NETWORKS)}"
    )
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=list(ASKED), help=names)
    parser.add_argument("--method", default="mse+", help="as eq_tvm's option")
    parser.add_argument("--scheme", default="int7", help="as eq_tvm's option")
    parser.add_argument(
        "--images", type=int, metavar="N", help="calibration images; by default as many as compile takes"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work", help="for what it makes")
    return parser.parse_args()


def _calibrate(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds and bytes: `before` calibration, with the network and the images at hand, and the `peak`."""
    from eq_tvm import passes, pipeline

    module, samples = _network(name, options)
    count = options.images or min(50, passes.affordable_images(module))
    images = dict(zip((param.name for param in module["main"].params), samples(count), strict=True))
    count = len(next(iter(images.values())))
    told = [time.monotonic()]
    before, processor = peak_memory(), time.process_time()
    pipeline.calibrate(
        module,
        images,
        scheme=options.scheme,
        method=options.method,
        progress=lambda _done, _message: told.append(time.monotonic()),
    )
    told.append(time.monotonic())
    return {
        "images": count,
        "wall": told[-1] - told[0],
        "processor": time.process_time() - processor,
        "before": before,
        "peak": peak_memory(),
        "silence": max(after - first for first, after in pairwise(told)),
    }


def _network(name: str, options: argparse.Namespace) -> tuple[Any, Callable[[int], list[np.ndarray]]]:
    """The canonical module, and a function that gives so many samples of each input."""
    from eq_tvm import pipeline
    from eq_tvm.building.canonical import import_canonical
    from eq_tvm.importer import import_onnx
    from eq_tvm.inputs.random_inputs import random_numbers

    random, shelf, (kind, _, size) = np.random.default_rng(0), read_shelf(), name.partition("@")
    found = list(trained(options.data, [name], options.images or 50)) if options.data.is_dir() else []
    if found:
        return pipeline.canonicalize(import_onnx(found[0].task.model)), lambda _: [
            np.concatenate(found[0].task.inputs())
        ]
    if kind in shelf:
        network = shelf[kind]
        if size:
            ((parameter, shape),) = network.shapes.items()
            network = replace(network, shapes={parameter: [*shape[:-2], *map(int, size.split("x"))]})
        shapes = {parameter: tuple(shape) for parameter, shape in network.shapes.items()}
        path = network.fetch(options.work / "shelf")
        module, inputs, _ = import_canonical(path, shapes, constants=network.constants)
        return module, lambda count: [without_batch(network.samples(count)[info.name]) for info in inputs]
    if name in NETWORKS:
        options.work.mkdir(parents=True, exist_ok=True)
        model = float_model(name, DATA, options.work)
    elif Path(name).is_file():
        model = Path(name)
    else:
        raise SystemExit(f"no network {name} in {options.data}; with random weights there are {', '.join(NETWORKS)}")
    module, inputs, _ = import_canonical(model)
    return module, lambda count: [
        without_batch(random_numbers(random, (count, *info.shape), info.dtype)) for info in inputs
    ]


if __name__ == "__main__":
    sys.exit(main())
