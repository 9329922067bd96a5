"""What images made from the network itself are worth: agreement with float32, beside typical images.

See docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from accuracy import DOCUMENT
from peers import machine
from peers.models import HERE
from peers.trained import DATA, FACES, Trained, trained
from reports.accuracy_report import put_between, table_line

_BEGIN = "<!-- table: benchmarks/methods/synthetic.py --write -->"

# By column: the scheme, the images and the method (None: what compile takes by default).
COLUMNS: dict[str, tuple[str, str, str | None]] = {
    "INT8, 50 typical": ("int8", "typical", None),
    "synthetic": ("int8", "synthetic", None),
    "drawn, `minmax`": ("int8", "drawn", "minmax"),
    "INT7, 50 typical": ("int7", "typical", None),
    "synthetic ": ("int7", "synthetic", None),
    "drawn, `minmax` ": ("int7", "drawn", "minmax"),
    "INT6, 50 typical": ("int6", "typical", None),
    "10 typical": ("int6", "few", None),
    "10 and synthetic": ("int6", "both", None),
}


def main() -> int:
    options = _options()
    results = json.loads(options.json.read_text()) if options.json.is_file() else {}
    for network in trained(options.data, options.networks, _TYPICAL):
        if network.data_set == FACES:
            continue
        found = results.setdefault(network.name, {})
        for column, figure in _figures(network, options):
            found[column] = figure
            print(f"{network.name}: {column.strip()}: {figure:.2f}", file=sys.stderr, flush=True)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(results, indent=1))
    text = _table(results)
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of those in --data; by default all")
    parser.add_argument("--columns", nargs="+", metavar="NAME", help=f"some of {', '.join(map(repr, COLUMNS))}")
    parser.add_argument("--limit", type=int, metavar="N", help="of the images that judge; by default all")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--json", type=Path, metavar="FILE", default=HERE / "work" / "synthetic.json", help="results")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    return parser.parse_args()


_TYPICAL, _FEW = 50, 10
_SECONDS, _JUDGED = "s to make images", "images that judge"


def _figures(network: Trained, options: argparse.Namespace):
    """Each column and its figure, as it is there."""
    import numpy as np

    from eq_tvm.building.canonical import import_canonical
    from eq_tvm.inputs.samples import Samples
    from eq_tvm.inputs.synthetic_inputs import synthetic_inputs
    from eq_tvm.options.declared import MIN_COSINES, QuantizeOptions
    from eq_tvm.quantizing.best_method import calibrate
    from eq_tvm.quantizing.images import images_to_compare, read_images
    from eq_tvm.quantizing.quantization import Quantization
    from eq_tvm.running.float_network import load_float

    task = network.task
    module, inputs, _ = import_canonical(task.model)
    name = module["main"].params[0].name

    def read(**how: Any):
        asked = QuantizeOptions(task.model, preprocess=task.preprocess, **how)
        return read_images(Quantization.checked(asked).affordable(module, lambda *_: None), inputs, module)

    began = time.perf_counter()
    made = read()
    yield _SECONDS, time.perf_counter() - began
    count = len(made[0][0])
    images = {
        "typical": read(calibration=task.calibration, images=_TYPICAL),
        "few": read(calibration=task.calibration, images=_FEW),
        "both": read(calibration=task.calibration, images=_FEW, synthesize=count),
        "synthetic": made,
        "drawn": ([each.array for each in synthetic_inputs(inputs, _preprocess(network), count)], None),
    }
    samples = Samples.read(network.images, inputs, _preprocess(network))
    judged = range(min(len(samples), options.limit or len(samples)))
    reference = load_float(task.model)
    decided = [_decision(reference.run(samples[i])) for i in judged]
    yield _JUDGED, len(judged)
    for column, (scheme, which, method) in COLUMNS.items():
        if options.columns and column not in options.columns:
            continue
        (array,), held_out = images[which]
        real = task.calibration if which in ("typical", "few", "both") else None
        asked = QuantizeOptions(task.model, calibration=real, preprocess=task.preprocess, scheme=scheme, method=method)
        how = replace(
            Quantization.checked(asked).cautious(module, inputs),
            min_cosine=0.0 if method else MIN_COSINES.get(scheme, 0.0),
        )
        given = {name: array}
        annotated = calibrate(module, given, images_to_compare(held_out, given), how, lambda *_: None).annotated
        run = _compiled(annotated)
        same = [_decision(run(samples[i][inputs[0].name])) == decided[i] for i in judged]
        yield column, 100 * float(np.mean(same))


def _preprocess(network: Trained):
    from eq_tvm.preprocess import Preprocess

    return Preprocess.read(network.task.preprocess)


def _decision(outputs) -> int:
    first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
    return int(first.reshape(-1).argmax())


def _compiled(annotated) -> Callable[[Any], Any]:
    """A function from an input to the first output."""
    import tvm

    from eq_tvm import pipeline
    from eq_tvm.targets import get_target

    executable, _ = pipeline.build(annotated, get_target("native"))
    main = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"]

    def run(array):
        result = main(tvm.runtime.tensor(array))
        return (result if isinstance(result, tvm.runtime.Tensor) else result[0]).numpy()

    return run


def _table(results: dict[str, dict[str, float]]) -> str:
    titles = ["", *map(str.strip, COLUMNS), _SECONDS, _JUDGED]
    lines = [table_line(*titles), table_line(*["---"] * len(titles))]
    for name, found in results.items():
        cells = [f"{found[column]:.2f}" if column in found else "" for column in COLUMNS]
        lines.append(table_line(name, *cells, f"{found[_SECONDS]:.0f}", f"{found[_JUDGED]:.0f}"))
    return "\n".join([f"{machine.made_with()}, {time.strftime('%Y-%m-%d')}", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
