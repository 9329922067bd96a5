"""What training brings: top-1 of what is compiled, by way of training. See docs/using/training.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import machine
from peers.trained import DATA
from reports.accuracy_report import table_line

WAYS: dict[str, dict[str, Any]] = {
    "lsq": {},
    "srq": {"quantizer": "srq"},
    "lsq, bits dropped": {"drop_bits": True},
    "srq, bits dropped": {"quantizer": "srq", "drop_bits": True},
    "lsq, learned bits": {"mean_bits": 4.0},
}
_BATCH = 250  # images simulated at a time
_COLUMNS = ("network", "way", "seed", "top-1 %", "float32 %", "simulated and compiled alike %", "mean bits", "s")


def main() -> int:
    options = _options()
    print(f"{options.scheme}, {options.epochs:g} epochs of {options.images.name}; {machine.made_with()}", "", sep="\n")
    print(table_line(*_COLUMNS), table_line(*["---"] * len(_COLUMNS)), sep="\n", flush=True)
    curves = []
    for name in options.networks:
        for seed in options.seeds:
            for way in options.ways:
                line, curve = _row(name, way, seed, options)
                print(line, flush=True)
                curves.append(f"- {name}, {way}, seed {seed}: loss and agreement by epoch: " + ", ".join(curve))
    print("", *curves, sep="\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("images", type=Path, help="training images: an .npz with images and labels")
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=["resnet20_cifar10"], help="of --data")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scheme", default="int4", help="as eq_tvm's option")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--limit", type=int, default=6667, help="images that judge, at most")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA)
    return parser.parse_args()


def _row(name: str, way: str, seed: int, options: argparse.Namespace) -> tuple[str, list[str]]:
    """A line of the table, and the curve."""
    import numpy as np
    import torch

    import eq_tvm
    from eq_tvm.inputs.samples import Samples
    from eq_tvm.preprocess import Preprocess
    from eq_tvm.running.float_network import load_float
    from eq_tvm.train.train import train

    model = options.data / "models" / f"{name}.onnx"
    preprocess = Preprocess.read(model.with_suffix(".preprocess.yaml"))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            model,
            images=options.images,
            preprocess=preprocess,
            scheme=options.scheme,
            seed=seed,
            learning_rate=options.learning_rate,
            output=Path(folder) / "net.onnx",
            epochs=options.epochs,
            **WAYS[way],
        )
        seconds = time.monotonic() - start
        bundle = eq_tvm.compile(trained.path, preprocess=preprocess, output=Path(folder) / "net.eqtvm", verify=False)
        samples = Samples.read(options.data / "cifar10" / "eval.npz", bundle.inputs, preprocess)
        compiled, real = eq_tvm.load(bundle), load_float(model)
        chosen = range(min(options.limit, len(samples)))
        found: dict[str, list[int]] = {"compiled": [], "simulated": [], "float": []}
        for first in range(0, len(chosen), _BATCH):
            some = [samples[i] for i in chosen[first : first + _BATCH]]
            together = (np.concatenate([each[info.name] for each in some]) for info in bundle.inputs)
            with torch.no_grad():
                found["simulated"] += trained.network(*map(torch.from_numpy, together))[0].argmax(1).tolist()
            for kind, ran in ("compiled", compiled), ("float", real):
                found[kind] += [int(next(iter(ran.run(each).values())).argmax()) for each in some]
    labels = np.array([samples.labels(i)[0] for i in chosen])
    right = {kind: 100 * float(np.mean(np.array(each) == labels)) for kind, each in found.items()}
    alike = 100 * float(np.mean(np.array(found["simulated"]) == np.array(found["compiled"])))
    problem = trained.network.problem
    narrow = [problem.net.nodes[i] for i in problem.net.layers() if problem.schemes[i] == options.scheme]
    weights = sum(node.constant.size for node in narrow)
    mean = sum(trained.bits[node.name] * node.constant.size for node in narrow) / weights
    cells = (right["compiled"], right["float"], alike, mean)
    line = table_line(name, way, str(seed), *(f"{cell:.2f}" for cell in cells), f"{seconds:.0f}")
    curve = [f"{each.epoch:.2f}: {each.loss:.4f}, {100 * each.agreement:.1f} %" for each in trained.reports]
    return line, curve


if __name__ == "__main__":
    sys.exit(main())
