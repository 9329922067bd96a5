"""Networks that ship in public packages, used as a person does: how near to ONNX Runtime, how fast, at what cost."""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from eq_tvm.errors import UserError
from peers import machine
from peers.models import HERE
from reports.accuracy_report import put_between, table_line
from shipped import trial
from shipped.package import Shipped, has_convolutions, read_shelf
from shipped.tasks import TASKS, Score, cosine

DOCUMENT = Path(__file__).parents[1] / "docs/networks.md"
SCHEMES = ("float32", "int8", "int7")
KNOWN = (*SCHEMES, "w8a12")
_BEGIN = "<!-- table: benchmarks/shelf.py --write -->"
_MANY = 4  # outputs whose cosines fit into a table


@dataclass(frozen=True)
class Asked:
    """The least that a scheme is to reach: cosine of each output; speed as times ONNX Runtime's; what the task asks."""

    cosine: float
    speed: float
    speed_without_convolutions: float


ASKED = {
    "float32": Asked(0.9999, 0.9, 0.9),
    "int8": Asked(0.99, 1.5, 1.0),
    "w8a12": Asked(0.99, 1.5, 1.0),
}  # int7 is only shown
MOST_CALIBRATING, MOST_COMPILING, MOST_GB = 60, 30, 2.0


def main() -> int:
    options = _options()
    shelf = read_shelf()
    rows = []
    for name in options.networks or shelf:
        rows.append(_row(name, shelf[name], options))
        print(rows[-1].accuracy(), rows[-1].cost(), *rows[-1].notes(), file=sys.stderr, sep="\n", flush=True)
    accuracy = ["network", *(f"{scheme}: cosine" for scheme in options.schemes), "judged by", *options.schemes]
    cost = ["network", "ONNX Runtime, ms", *options.schemes, "calibrating, s", "compiling, s", "GB"]
    text = "\n\n".join(
        [
            f"{machine.made_with()}; {date.today()}",
            _table(accuracy, [row.accuracy() for row in rows]),
            "\n".join(note for row in rows for note in row.notes()) or "All that is asked of accuracy is there.",
            _table(cost, [row.cost() for row in rows]),
        ]
    )
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


@dataclass(frozen=True)
class Tried:
    """A network in one scheme; `speed` is times ONNX Runtime's."""

    cosines: list[float]
    score: Score | None
    speed: float
    compiled: trial.Compiled


@dataclass(frozen=True)
class Row:
    """A network: `tried` says by scheme what came of it, or why nothing did. What misses its bound is bold."""

    name: str
    task: str
    convolutions: bool
    milliseconds: float
    tried: dict[str, Tried | str]

    def accuracy(self) -> str:
        """A line of the first table."""
        return table_line(self.name, *self._each(_cosines), self.task, *self._each(_score))

    def notes(self) -> list[str]:
        """Where cosines are too low, the layer that calibration found worst."""
        return [
            f"- {self.name}, {scheme}: of its layers {tried.compiled.worst} is farthest from float32"
            for scheme, tried in self.tried.items()
            if isinstance(tried, Tried) and scheme in ASKED and min(tried.cosines) < ASKED[scheme].cosine
        ]

    def cost(self) -> str:
        """A line of the second table; seconds and memory are the most of all schemes."""
        tried = [each.compiled for each in self.tried.values() if isinstance(each, Tried)]
        most = {
            "calibrating": (max((each.calibrating for each in tried), default=0), MOST_CALIBRATING, ".0f"),
            "compiling": (max((each.compiling for each in tried), default=0), MOST_COMPILING, ".0f"),
            "GB": (max((each.peak / 1e9 for each in tried), default=0), MOST_GB, ".2f"),
        }
        marked = (_marked(f"{value:{form}}", value <= bound) for value, bound, form in most.values())
        return table_line(self.name, f"{self.milliseconds:.3g}", *self._each(self._speed), *marked)

    def _each(self, text) -> list[str]:
        return [
            f"**{tried}**" if isinstance(tried, str) else text(tried, ASKED.get(scheme))
            for scheme, tried in self.tried.items()
        ]

    def _speed(self, tried: Tried, asked: Asked | None) -> str:
        least = asked and (asked.speed if self.convolutions else asked.speed_without_convolutions)
        return _marked(f"{tried.speed:.2f}", not least or tried.speed >= least)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of those in shelf.yaml; by default all")
    parser.add_argument("--schemes", nargs="+", choices=list(KNOWN), default=SCHEMES, help="as eq_tvm's option")
    parser.add_argument("--images", type=int, metavar="N", default=24, help="calibration inputs")
    parser.add_argument("--limit", type=int, metavar="N", default=16, help="compare on N further inputs")
    parser.add_argument("--seconds", type=float, metavar="S", default=1, help="of timing, for each scheme")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work/shelf", help="keeps packages")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/networks.md")
    return parser.parse_args()


def _row(name: str, network: Shipped, options: argparse.Namespace) -> Row:
    path = network.fetch(options.work)
    samples = network.samples(options.images + options.limit)
    inputs = [{key: values[i] for key, values in samples.items()} for i in range(-options.limit, 0)]
    reference = network.parts(trial.expected(path, network, inputs))
    outcomes: dict[str, trial.Compiled | str] = {}  # or why there is none
    with tempfile.TemporaryDirectory() as folder:
        calibration, held_out = (Path(folder) / f"{name}.npz" for name in ("calibration", "held_out"))
        np.savez(calibration, **{key: values[: options.images] for key, values in samples.items()})
        np.savez(held_out, **{key: values[-options.limit :] for key, values in samples.items()})
        bundles = {scheme: Path(folder) / f"{scheme}.eqtvm" for scheme in options.schemes}
        for scheme, bundle in bundles.items():
            try:
                outcomes[scheme] = trial.alone(trial.compiled, path, network, scheme, calibration, held_out, bundle)
            except (UserError, ValueError, BrokenProcessPool) as e:
                outcomes[scheme] = " ".join(str(e).split())
        compiled = {scheme: bundle for scheme, bundle in bundles.items() if not isinstance(outcomes[scheme], str)}
        times = trial.alone(trial.timed, path, network, compiled, inputs[0], options.seconds)
    theirs = times["ONNX Runtime"]
    tried = {
        scheme: outcome if isinstance(outcome, str) else _tried(outcome, reference, network, theirs / times[scheme])
        for scheme, outcome in outcomes.items()
    }
    return Row(name, network.task, has_convolutions(path), 1000 * theirs, tried)


def _tried(compiled: trial.Compiled, reference: list, network: Shipped, speed: float) -> Tried:
    results = network.parts(compiled.outputs)
    cosines = [cosine(*pair) for pair in zip(results, reference, strict=True)]
    score = TASKS[network.task](results, reference, network) if network.task in TASKS else None
    return Tried(cosines, score, speed, compiled)


def _cosines(tried: Tried, asked: Asked | None) -> str:
    marked = [_marked(f"{c:.4f}", not asked or c >= asked.cosine) for c in sorted(tried.cosines)]
    if len(marked) > _MANY:
        return f"{marked[0]} to {marked[-1]}"
    return ", ".join(_marked(f"{c:.4f}", not asked or c >= asked.cosine) for c in tried.cosines)


def _score(tried: Tried, asked: Asked | None) -> str:
    return "" if tried.score is None else _marked(tried.score.text, tried.score.met or not asked)


def _marked(text: str, met: bool) -> str:
    return text if met else f"**{text}**"


def _table(titles: list[str], lines: list[str]) -> str:
    return "\n".join([table_line(*titles), table_line(*["---"] * len(titles)), *lines])


if __name__ == "__main__":
    sys.exit(main())
