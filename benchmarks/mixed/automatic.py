"""What `--scheme auto` takes and keeps, beside INT7 and INT8. See ../../docs/accuracy.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from accuracy import DOCUMENT, outputs_of, score
from peers import machine
from peers.cache import cached
from peers.models import HERE, compiler_sources
from peers.trained import DATA, FACES, Trained, trained
from reports.accuracy_report import put_between, table_head, table_line

_BEGIN = "<!-- table: mixed.automatic --write -->"
TARGETS = ("x86", "x86-vnni", "rpi3", "rpi4", "rpi5")


def main() -> int:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    columns = ("INT8", "auto", "agreement: INT7", "auto", "INT8", "1 - cosine: INT7", "auto", "INT8", "types")
    lines = table_head("network", "target", *columns)
    for network in trained(options.data, options.networks, options.images):
        for line in _rows(network, options):
            print(line, file=sys.stderr, flush=True)
            lines.append(line)
    text = "\n".join([machine.made_with(), "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of those in --data; by default all")
    parser.add_argument("--targets", nargs="+", metavar="NAME", default=TARGETS, help="whose cycles count")
    parser.add_argument("--speed", type=float, metavar="TIMES", help="as of compile")
    parser.add_argument("--limit", type=int, metavar="N", help="score only the first N images")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work", help="for what it makes")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    return parser.parse_args()


def _rows(network: Trained, options: argparse.Namespace) -> Iterator[str]:
    """Cycles in parts of INT7's, and scores of what a target's types give when compiled for this machine."""
    reference = outputs_of(network.task.model, network.task, network.images, options)

    def scored(name: str, **how: object) -> dict[str, float]:
        bundle = _compiled(network, name, options, target="native", **how)
        found = outputs_of(bundle, network.task, network.images, options)
        return score(network, found, reference)

    everywhere = {scheme: scored(scheme, scheme=scheme) for scheme in ("int7", "int8")}
    for target in options.targets:
        types, cycles = _decided(network, target, options)
        counts = Counter(types.values()).most_common() or [("int8", 0)]
        scheme = counts[0][0]
        kept = {layer: other for layer, other in types.items() if other != scheme}
        auto = scored(f"auto-{target}", scheme=scheme, keep=kept) if kept else everywhere[scheme]
        rows = (everywhere["int7"], auto, everywhere["int8"])
        what = "recall" if network.data_set == FACES else "agreement"
        ratios = (f"{cycles[name] / cycles['int7']:.3f}" for name in ("int8", "chosen"))
        shares = [f"{100 * row[what]:.2f}" for row in rows]
        losses = ["" if network.data_set == FACES else f"{1 - row['cosine']:.2e}" for row in rows]
        said = ", ".join(f"{count} {each}" for each, count in counts if count) or "int8"
        yield table_line(network.name, target, *ratios, *shares, *losses, said)


def _decided(network: Trained, target: str, options: argparse.Namespace) -> tuple[dict[str, str], dict[str, float]]:
    """By layer the type, none where one is best for all, and the cycles."""
    bundle = _compiled(network, f"decided-{target}", options, target=target, scheme="auto", speed=options.speed)
    types = json.loads((bundle / "bundle.json").read_text())["calibration"]["types"]
    return {each["layer"]: each["type"] for each in types.get("layers", ())}, types["cycles"]


def _compiled(network: Trained, name: str, options: argparse.Namespace, **how: object) -> Path:
    from eq_tvm import compiler

    task, path = network.task, options.work / f"{network.name}-{name}.eqtvm"
    given = {"calibration": task.calibration, "preprocess": task.preprocess, "images": task.images, "min_cosine": 0.0}

    def make() -> None:
        print(f"{network.name}: {name}", file=sys.stderr, flush=True)
        compiler.compile(task.model, **given, **how, output=path)

    key = task.key(name, how, compiler_sources(), packages=("apache-tvm", "apache-tvm-ffi"))
    return cached(path, key, make)


if __name__ == "__main__":
    sys.exit(main())
