"""The tables that people read and the JSON that keeps everything."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peers.contest import Times
from peers.engines import ENGINES

ISA_TITLES = {"amx": "AMX", "vnni": "AVX-512 VNNI", "avx2": "AVX2"}


@dataclass
class Result:
    """One network on one instruction set with one number of threads.

    Attributes
    ----------
    baseline : str
        The engine that the others are compared with.
    engines : dict
        By engine: times in ms, and the ratio to the baseline: of the medians, and least and greatest of a round.
    failed : dict
        By engine: why it did not run.
    """

    network: str
    isa: str
    threads: int
    baseline: str = ""
    engines: dict[str, dict[str, object]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, times: dict[str, Times], ran_as: dict[str, str]) -> None:
        """Take what `contest` measured; the baseline is the first of it."""
        self.baseline = next(iter(times))
        for name, measured in times.items():
            ratio, least, greatest = measured.ratio_to(times[self.baseline])
            self.engines[name] = {
                "median_ms": _ms(measured.median),
                "min_ms": _ms(min(measured.all)),
                "max_ms": _ms(max(measured.all)),
                "runs": len(measured.all),
                "round_medians_ms": [_ms(median) for median in measured.round_medians],
                "ratio": {"median": round(ratio, 4), "min": round(least, 4), "max": round(greatest, 4)},
                "ran_as": ran_as[name],
            }


def table(results: Sequence[Result]) -> str:
    """All results of one instruction set and number of threads, as Markdown."""
    first = results[0]
    title = f"{ISA_TITLES[first.isa]}, {first.threads} thread{'s' if first.threads > 1 else ''}"
    rows = [["network", "engine", "median ms", "least ms", f"times {ENGINES[first.baseline].title}", "of the rounds"]]
    for result in results:
        network = result.network
        for name, engine in result.engines.items():
            ratio = engine["ratio"]
            comparable = result.baseline == first.baseline
            span = f"{ratio['min']:.2f} to {ratio['max']:.2f}" if comparable and name != first.baseline else ""
            rows.append(
                [
                    network,
                    ENGINES[name].title,
                    f"{engine['median_ms']:.2f}",
                    f"{engine['min_ms']:.2f}",
                    f"{ratio['median']:.2f}" if comparable else "",
                    span,
                ]
            )
            network = ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = ("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)
    return "\n".join([f"## {title}", "", *lines])


def instructions(results: Sequence[Result]) -> str:
    """What each engine said it ran as, for one instruction set: of all networks, or of the first where they differ."""
    lines = [f"What ran, for {ISA_TITLES[results[0].isa]}:", ""]
    for name in dict.fromkeys(name for result in results for name in result.engines):
        said = list(dict.fromkeys(str(r.engines[name]["ran_as"]) for r in results if name in r.engines))
        lines.append(f"- {ENGINES[name].title}: {said[0]}{f' ({results[0].network})' if len(said) > 1 else ''}")
    return "\n".join(lines)


def write_json(path: Path, context: dict[str, object], results: Sequence[Result]) -> None:
    """Replace the file with everything so far."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(context | {"results": [asdict(result) for result in results]}, indent=2) + "\n")
    temporary.replace(path)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 4)
