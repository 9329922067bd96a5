"""What types by cost bring, and other choices at the same cycles. See ../../docs/accuracy.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from accuracy import DOCUMENT
from peers import machine
from peers.trained import DATA, FACES, Trained, trained
from reports.accuracy_report import put_between, table_line

if TYPE_CHECKING:
    from eq_tvm.passes.mixed.knapsack import Assignment
    from eq_tvm.quantizing.by_cost import Decision

_BEGIN = "<!-- table: mixed.layer_types --write -->"
NETWORKS = ("resnet20_cifar10", "mobilenet_v2_cifar10", "squeezenet1_1", "mobilenet_v1_075")
CHOICES = ("outputs", "nuclear", "greedy", "by error alone", "at random")
TYPES = ("int6", "w8a7", "w7a8", "int8")
RANDOM = 3  # choices that are averaged


def main() -> int:
    options = _options()
    lines = [
        table_line("network", "target", *TYPES, "budget", *options.choices, "predicted error / measured"),
        table_line(*["---"] * (len(TYPES) + len(options.choices) + 4)),
    ]
    for network in trained(options.data, options.networks, options.images):
        if network.data_set != FACES:
            for target in options.targets:
                lines += _rows(network, target, options)
    text = "\n".join([f"{options.limit} images; {machine.made_with()}", "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=NETWORKS, help="of those in --data")
    parser.add_argument("--targets", nargs="+", metavar="NAME", default=["x86"], help="whose cycles count")
    parser.add_argument("--budgets", nargs="+", type=float, default=[1.1], help="cycles, times those of INT7")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=CHOICES, help="how types are chosen")
    parser.add_argument("--limit", type=int, metavar="N", default=96, help="held-out images")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    return parser.parse_args()


def _rows(network: Trained, target: str, options: argparse.Namespace) -> Iterator[str]:
    """How much of the gap in 1 - cosine between INT7 and INT8 each choice closes, in percent."""
    case = _Case.of(network, target, options)
    measured = {scheme: case.measure(scheme, {}) for scheme in ("int7", "int8")}
    totals = {scheme: case.found.total(scheme) for scheme in (*TYPES, "int7")}
    for budget in options.budgets:
        cycles = budget * totals["int7"]
        cells, predicted = [], ""
        for name in options.choices:
            start = time.monotonic()
            gains = []
            for assignment in case.chosen(name, cycles):
                found = case.measure("int7", case.types(assignment))
                gap = measured["int7"].loss - measured["int8"].loss
                gains.append(100 * (measured["int7"].loss - found.loss) / gap)
                if name == "outputs":
                    predicted = f"{case.decision.verified(assignment).error(assignment):.2e} / {found.error:.2e}"
            cells.append(" to ".join(f"{gain:.0f}" for gain in sorted({min(gains), max(gains)})))
            said = f"{network.name}, {target}, {budget:g}: {name} {cells[-1]} % in {time.monotonic() - start:.0f} s"
            print(said, file=sys.stderr, flush=True)
        ratios = (f"{totals[scheme] / totals['int7']:.2f}" for scheme in TYPES)
        yield table_line(network.name, target, *ratios, f"{budget:g}", *cells, predicted)


@dataclass(frozen=True)
class _Measured:
    loss: float  # 1 - cosine
    error: float  # mean square, in parts of the outputs'


class _Case:
    """A network and a target, with all that choosing types needs."""

    def __init__(self, module, images, held_out, how, found, decision, samples):
        self.module, self.images, self.held_out, self.how = module, images, held_out, how
        self.found, self.decision, self._samples = found, decision, samples

    @classmethod
    def of(cls, network: Trained, target: str, options: argparse.Namespace) -> _Case:
        from eq_tvm import passes
        from eq_tvm.building.canonical import import_canonical
        from eq_tvm.options.declared import CompileOptions
        from eq_tvm.passes.mixed.costs import costs
        from eq_tvm.passes.mixed.layer_types import TYPES as ALL
        from eq_tvm.quantizing.by_cost import decide
        from eq_tvm.quantizing.goal import Goal
        from eq_tvm.quantizing.images import images_to_analyze, read_images
        from eq_tvm.quantizing.quantization import Quantization
        from eq_tvm.targets import get_target

        task = network.task
        given = {"calibration": task.calibration, "preprocess": task.preprocess, "images": options.images}
        how = replace(Quantization.checked(CompileOptions(task.model, **given)), min_cosine=0.0)
        module, inputs, _ = import_canonical(how.model)
        arrays, held_out = read_images(how, inputs)
        images = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
        spec = get_target(target)
        with spec.tvm_target():
            found = costs(module, images, tuple(ALL), spec.machine)
        decision = decide(module, images, held_out, how, found, Goal(speed=1.0), target, passes.no_progress)
        return cls(module, images, held_out, how, found, decision, images_to_analyze(held_out, images, options.limit))

    def chosen(self, name: str, cycles: float) -> Sequence[Assignment]:
        """Assignments that take at most so many cycles."""
        import numpy as np

        from eq_tvm import passes
        from eq_tvm.passes.mixed import knapsack

        decision = self.decision
        room = cycles - decision.fixed
        if name == "outputs":
            return [knapsack.within(knapsack.front(decision.choices), room)]
        if name == "nuclear":
            other = _with(decision, nuclear=self)
            return [knapsack.within(knapsack.front(other.choices), room)]
        if name == "greedy":
            return [decision.greedily(cycles, passes.no_progress)]
        loss = [max(lost for _, lost in of_unit) for of_unit in decision.choices]
        units = np.arange(len(loss))
        wide, wider = decision.types.index("int8"), [decision.types.index(scheme) for scheme in TYPES[1:]]
        if name == "by error alone":
            return [_widened(decision, np.argsort(loss)[::-1], np.full_like(units, wide), room)]
        random = np.random.default_rng(0)
        return [
            _widened(decision, random.permutation(units), random.choice(wider, len(units)), room) for _ in range(RANDOM)
        ]

    def types(self, assignment: Assignment) -> dict[str, str]:
        chosen = zip(self.decision.units, assignment.chosen, strict=True)
        return {layer: self.decision.types[k] for unit, k in chosen for layer in unit}

    def measure(self, scheme: str, kept: dict[str, str]) -> _Measured:
        """Calibrated so, on images that take no part in it."""
        import numpy as np

        from eq_tvm import passes, pipeline
        from eq_tvm.passes.mixed.sensitivity import mean_square_error

        options = {"scheme": scheme, "activation_range": self.how.activation_range}
        prepared = pipeline.prepare(self.module, self.images, method=self.how.method, **options)
        annotated, _ = pipeline.quantize(prepared, self.images, method=self.how.method, kept=kept, **options)
        pairs = passes.compare_outputs(prepared, annotated, [self._samples], kept=kept, imported=self.module, **options)
        ((expected, result),) = [pair for each in pairs for pair in each]
        a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (expected, result))
        cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        return _Measured(1 - float(cosines.mean()), mean_square_error(expected, result))


def _with(decision: Decision, nuclear: _Case) -> Decision:
    """The same weighed by nuclear norms."""
    from eq_tvm.passes.mixed.nuclear import nuclear_errors

    weighed, how = decision.weighed, nuclear.how
    layers = {
        scheme: nuclear_errors(
            weighed.prepared,
            annotated,
            weighed.samples,
            scheme=scheme,
            activation_range=how.activation_range,
            kept=how.kept,
        )
        for scheme, annotated in weighed.annotated.items()
    }
    return replace(decision, weighed=replace(weighed, layers=layers))


def _widened(decision: Decision, order: Sequence[int], types: Sequence[int], room: float) -> Assignment:
    """Unit after unit at its wider type, as far as there is room."""
    from eq_tvm.passes.mixed.knapsack import Assignment

    narrow = decision.types.index("int7")
    chosen = [narrow] * len(decision.units)
    left = room - sum(of_unit[narrow][0] for of_unit in decision.choices)
    for k in order:
        price = decision.choices[k][types[k]][0] - decision.choices[k][narrow][0]
        if price <= left:
            chosen[k], left = int(types[k]), left - price
    picked = [of_unit[k] for of_unit, k in zip(decision.choices, chosen, strict=True)]
    return Assignment(tuple(chosen), sum(price for price, _ in picked), sum(lost for _, lost in picked))


if __name__ == "__main__":
    sys.exit(main())
