"""How long calibration takes, and how much memory. See README.md."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from peers.machine import describe, peak_memory
from peers.models import HERE, float_model
from peers.networks import NETWORKS
from peers.trained import DATA, trained

ASKED = {"squeezenet1_1": 30, "mobilenet_v1_075": 30, "resnet56_cifar10": 20, "resnet50": 180}  # seconds, at most


def main() -> int:
    options = _options()
    print("| network | wall s | processor s | peak MB | before, MB | asked, wall s |\n|---|---|---|---|---|---|")
    # a process for each, as the peak of memory is one of a process
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in options.networks:
            row = pool.submit(_calibrate, name, options).result()
            print(
                f"| {name} | {row['wall']:.1f} | {row['processor']:.1f} | {row['peak'] / 1e6:.0f} "
                f"| {row['before'] / 1e6:.0f} | {ASKED.get(name, '')} |",
                flush=True,
            )
    machine = describe()
    print(
        f"\n{options.method}, {options.scheme}, {options.images} images; {machine['cpu']}, {machine['cores']} cores, "
        f"load {machine['load']:.1f}"
    )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = f"trained ones of --data, or with random weights and images: {', '.join(NETWORKS)}"
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=list(ASKED), help=names)
    parser.add_argument("--method", default="easyquant", help="as eq_tvm's option; easyquant tries 100 scales")
    parser.add_argument("--scheme", default="int7", help="as eq_tvm's option")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work", help="for what it makes")
    return parser.parse_args()


def _calibrate(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds and bytes: `before` calibration, with the network and the images at hand, and the `peak`."""
    import numpy as np

    from eq_tvm import pipeline
    from eq_tvm.importer import import_onnx

    found = list(trained(options.data, [name], options.images)) if options.data.is_dir() else []
    if found:
        model, images = found[0].task.model, np.concatenate(found[0].task.inputs())
    elif name in NETWORKS:
        options.work.mkdir(parents=True, exist_ok=True)
        model = float_model(name, DATA, options.work)
        images = np.random.default_rng(0).standard_normal((options.images, 3, 224, 224), dtype=np.float32)
    else:
        raise SystemExit(f"no network {name} in {options.data}; with random weights there are {', '.join(NETWORKS)}")
    module = pipeline.canonicalize(import_onnx(model))
    before, wall, processor = peak_memory(), time.monotonic(), time.process_time()
    pipeline.calibrate(module, {module["main"].params[0].name: images}, scheme=options.scheme, method=options.method)
    return {
        "wall": time.monotonic() - wall,
        "processor": time.process_time() - processor,
        "before": before,
        "peak": peak_memory(),
    }


if __name__ == "__main__":
    sys.exit(main())
