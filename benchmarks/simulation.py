"""How near the compiled integer program is to the float simulation, which is what the annotated module computes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from accuracy import DOCUMENT
from peers import machine
from peers.trained import DATA, Trained, trained
from reports.accuracy_report import put_between, table_line

_BEGIN = "<!-- table: benchmarks/simulation.py --write -->"


def main() -> int:
    options = _options()
    titles = ["", "images", "same top-1 %", "cosine", "simulated: agreement %", "compiled: agreement %"]
    lines = [table_line(*titles), table_line(*["---"] * len(titles))]
    for network in trained(options.data, options.networks, options.images):
        both, simulated, compiled = _compare(network, options)
        lines.append(
            table_line(
                network.name,
                str(both["n"]),
                f"{100 * both['agreement']:.2f}",
                f"{both['cosine']:.6f}",
                f"{100 * simulated['agreement']:.2f}",
                f"{100 * compiled['agreement']:.2f}",
            )
        )
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join([f"{options.method}, {options.scheme}; {machine.made_with()}", "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of those in --data; by default all")
    parser.add_argument("--method", default="easyquant", help="as eq_tvm's option")
    parser.add_argument("--scheme", default="int7", help="as eq_tvm's option")
    parser.add_argument("--limit", type=int, metavar="N", default=200, help="compare on the first N images")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    return parser.parse_args()


def _compare(network: Trained, options: argparse.Namespace) -> tuple[dict, dict, dict]:
    """Scores of compiled against simulated, of simulated against float, and of compiled against float."""
    import numpy as np
    import tvm

    from eq_tvm import data, pipeline
    from eq_tvm.importer import import_onnx
    from eq_tvm.preprocess import Preprocess
    from eq_tvm.running.float_network import load_float
    from eq_tvm.scores import Scores
    from eq_tvm.targets import get_target

    target = get_target("native")
    module = pipeline.canonicalize(import_onnx(network.task.model))
    images = {module["main"].params[0].name: np.concatenate(network.task.inputs())}
    annotated, _ = pipeline.calibrate(module, images, scheme=options.scheme, method=options.method)
    compiled = _outputs_of(pipeline.build(annotated, target)[0])
    with target.tvm_target():
        for phase in pipeline.LOWERING[1:]:  # all but the one that makes it integer
            annotated = tvm.ir.transform.Sequential(pipeline.PIPELINE[phase](pipeline.Settings()))(annotated)
    simulated = _outputs_of(pipeline.executable(annotated, target))

    original, preprocess = load_float(network.task.model), Preprocess.read(network.task.preprocess)
    dataset, info = data.read(network.images), original.inputs[0]
    scores = Scores(), Scores(), Scores()
    for i in range(min(options.limit, len(dataset))):
        image = dataset.input(i, info.shape, preprocess)
        expected = list(original.run({info.name: image}).values())
        ours, theirs = compiled(image), simulated(image)
        for score, result, reference in zip(scores, (ours, theirs, ours), (theirs, expected, expected), strict=True):
            score.add(result, None, reference)
    return tuple(score.result() for score in scores)


def _outputs_of(executable):
    """A function from an image to the network's outputs."""
    import tvm

    main = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"]

    def run(image):
        result = main(tvm.runtime.tensor(image))
        return [field.numpy() for field in ([result] if isinstance(result, tvm.runtime.Tensor) else result)]

    return run


if __name__ == "__main__":
    sys.exit(main())
