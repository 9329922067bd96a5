"""The tables and the JSON of `arm.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emulated.arm_cpus import CPUS
from emulated.functions import Function
from peers.engines import ENGINES

BASELINE = "eq_tvm-int7"
# The fastest of them is what a person would use instead.
PEERS = [name for name, engine in ENGINES.items() if engine.library != "eq_tvm"]
# Figures of `Cost` that engines are compared by, as tables call them.
FIGURES = {"cycles": "10^6 cycles", "least": "without waiting", "cached": "with caches"}
NOTE = "Executed instructions are counted; cycles are estimates by llvm-mca, without caches and branch prediction."
CACHES = "The last figure is with what comes from behind the first cache, as if nothing else went on meanwhile."


@dataclass
class Cost:
    """One inference, in instructions and estimated cycles.

    `least` is without waiting for results, `cached` with what `lines` of data take: see `Emulation.lines`.
    """

    instructions: float
    cycles: float
    least: float
    functions: list[Function] = field(default_factory=list)
    cached: float | None = None
    lines: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Result:
    """One network on one processor.

    Attributes
    ----------
    engines : dict
        By engine: its cost.
    failed : dict
        By engine: why there is none.
    """

    network: str
    cpu: str
    engines: dict[str, Cost] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def best_peer(self, figure: str = "cycles") -> str | None:
        """The engine of `PEERS` that takes the fewest cycles, or has the least of another figure of `Cost`."""
        present = {name: getattr(self.engines[name], figure) for name in PEERS if name in self.engines}
        return min((name for name in present if present[name] is not None), key=present.__getitem__, default=None)

    def ratio(self, engine: str, figure: str = "cycles") -> float | None:
        """Cycles of an engine in those of eq_tvm INT7, or another figure of `Cost`."""
        figures = [getattr(self.engines.get(name), figure, None) for name in (engine, BASELINE)]
        return None if None in figures else figures[0] / figures[1]


def summary(results: Sequence[Result]) -> str:
    """By network and processor: the cycles of the best peer in those of eq_tvm INT7, by each of the figures."""
    cpus = list(dict.fromkeys(result.cpu for result in results))
    rows = [["network", *(CPUS[cpu].title for cpu in cpus)]]
    for network in dict.fromkeys(result.network for result in results):
        cells = {result.cpu: _best(result) for result in results if result.network == network}
        rows.append([network, *(cells.get(cpu, "") for cpu in cpus)])
    title = f"## Cycles of the best peer, divided by those of {ENGINES[BASELINE].title}"
    notes = [NOTE, "The second figure is without waiting for results.", *[CACHES] * ("cached" in _figures(results))]
    return "\n".join([title, "", *notes, "", markdown(rows)])


def details(results: Sequence[Result], cpu: str) -> str:
    """All engines on one processor."""
    times = f"times {ENGINES[BASELINE].title}"
    columns = _figures(results)
    rows = [
        ["network", "engine", "10^6 instructions", *(cell for figure in columns for cell in (FIGURES[figure], times))]
    ]
    for result in results:
        if result.cpu == cpu:
            for name, cost in result.engines.items():
                figures = [f"{cost.instructions / 1e6:.2f}"]
                for figure in columns:
                    ratio, value = result.ratio(name, figure), getattr(cost, figure)
                    figures += ["" if value is None else f"{value / 1e6:.2f}", f"{ratio:.2f}" if ratio else ""]
                rows.append([result.network, ENGINES[name].title, *figures])
    return "\n".join([f"## {CPUS[cpu].title}", "", markdown(rows)])


def hot_functions(result: Result, engine: str, count: int) -> str:
    """The functions that take most cycles."""
    cost = result.engines[engine]
    head = ["function", "calls", "10^6 instructions", "10^6 cycles", "share", "MAC/cycle", "10^6 planned", "kernel"]
    rows = [head]
    for function in cost.functions[:count]:
        if function.cycles == 0:
            break
        rows.append(
            [
                function.name,
                f"{function.calls:.0f}" if function.calls else "",
                f"{function.instructions / 1e6:.3f}",
                f"{function.cycles / 1e6:.3f}",
                f"{function.cycles / cost.cycles:.1%}",
                f"{function.macs / function.cycles:.2f}" if function.macs else "",
                f"{function.planned / 1e6:.3f}" if function.planned else "",
                function.kernel,
            ]
        )
    title = f"## {result.network} on {CPUS[result.cpu].title}, {ENGINES[engine].title}"
    return "\n".join([title, "", markdown(rows)])


def write_json(path: Path, context: dict[str, object], results: Sequence[Result]) -> None:
    """Replace the file with everything so far."""
    records = []
    for result in results:
        best = {figure: result.best_peer(figure) for figure in FIGURES}
        ratios = {figure: result.ratio(name, figure) for figure, name in best.items() if name}
        records.append(asdict(result) | {"best_peer": best, "ratio": ratios})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(context | {"note": NOTE, "results": records}, indent=2) + "\n")
    temporary.replace(path)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def _figures(results: Sequence[Result]) -> list[str]:
    """Those that are known of an engine."""
    costs = [cost for result in results for cost in result.engines.values()]
    return [figure for figure in FIGURES if any(getattr(cost, figure) is not None for cost in costs)]


def _best(result: Result) -> str:
    cells = []
    for figure in FIGURES:
        name = result.best_peer(figure)
        ratio = name and result.ratio(name, figure)
        cells += [f"{ratio:.2f} ({ENGINES[name].title})"] if ratio else []
    return " / ".join(cells)
