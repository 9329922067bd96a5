"""Run ONNX's node tests through eq_tvm, and write docs/operators.md: what passes, and what is refused how."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from peers import machine
from peers.node_tests import Outcome, names_of_operators, node_tests, run_case
from reports.accuracy_report import table_line

DOCUMENT = Path(__file__).parents[1] / "docs" / "operators.md"
_SCHEMES = ("float32", "int8")


def main() -> int:
    options = _options()
    if options.worker is not None:
        return _work(options.pattern, options.worker)
    outcomes = list(_run_all(options.pattern))
    counts = Counter((outcome.scheme, outcome.state) for outcome in outcomes)
    for (scheme, state), count in sorted(counts.items()):
        print(f"{scheme}: {count} {state}")
    bad = [outcome for outcome in outcomes if outcome.state in ("wrong", "crashed")]
    for outcome in bad:
        print(f"{outcome.state}: {outcome.name} ({outcome.scheme}): {outcome.message}")
    if options.write:
        DOCUMENT.write_text(_document(outcomes), encoding="utf-8")
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--pattern", default="", metavar="TEXT", help="only tests whose names contain it")
    parser.add_argument("--write", action="store_true", help="write docs/operators.md")
    parser.add_argument("--worker", type=int, metavar="N", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_all(pattern: str) -> Iterable[Outcome]:
    """In another process, which is started again behind a test that ends it."""
    cases = [case.name for case in node_tests(pattern)]
    pairs = [(name, scheme) for name in cases for scheme in _SCHEMES]
    done = 0
    while done < len(pairs):
        command = [sys.executable, __file__, "--pattern", pattern, "--worker", str(done)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
            for line in worker.stdout or ():
                if line.startswith("{"):
                    yield Outcome(**json.loads(line))
                    done += 1
                    if done % 100 == 0:
                        print(f"{done} of {len(pairs)}", file=sys.stderr, flush=True)
        if done < len(pairs):
            yield Outcome(*pairs[done], "crashed", "the process ended")
            done += 1


def _work(pattern: str, start: int) -> int:
    """From the pair of that number on; a line of JSON for each."""
    pairs = [(case, scheme) for case in node_tests(pattern) for scheme in _SCHEMES]
    for case, scheme in pairs[start:]:
        print(json.dumps(run_case(case, scheme)._asdict()), flush=True)
    return 0


def _document(outcomes: list[Outcome]) -> str:
    tests = len({outcome.name for outcome in outcomes})
    states = Counter(outcome.state for outcome in outcomes if outcome.scheme == "float32")
    quantized = Counter(outcome.state for outcome in outcomes if outcome.scheme == "int8")
    wrong = {scheme: some["wrong"] + some["crashed"] for scheme, some in (("float32", states), ("int8", quantized))}
    lines = [
        "# Operators",
        "",
        "Each operator of ONNX by its own tests (`onnx.backend.test`), compiled for this machine. *Passed* is within",
        "the test's tolerance at `--scheme float32`, *refused* is one line that says why. An input that decides a",
        "shape is given by `--constant`, as the refusal asks. *INT8* counts tests whose network has a layer to",
        "quantize (all inputs but the first are given by `--constant`) and whose outputs stay within 5 % of",
        "float's; the others compute the same at all schemes.",
        "",
        f"`python benchmarks/operators.py --write`; {machine.made_with()}.",
        "",
        f"**{tests} tests: {states['passed']} passed ({100 * states['passed'] / tests:.1f} %), {states['refused']} "
        f"refused, {wrong['float32']} wrong. INT8: {quantized['passed']} passed, {wrong['int8']} wrong.**",
        "",
        table_line("operator", "passed", "refused", "INT8", "why refused"),
        table_line("---", "---:", "---:", "---:", "---"),
    ]
    operators = names_of_operators()
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[operators[outcome.name]].append(outcome)
    for operator, some in sorted(rows.items()):
        float32 = Counter(outcome.state for outcome in some if outcome.scheme == "float32")
        int8 = Counter(outcome.state for outcome in some if outcome.scheme == "int8")
        reasons = dict.fromkeys(_shortened(outcome.message) for outcome in some if outcome.state == "refused")
        lines.append(
            table_line(
                operator,
                str(float32["passed"]),
                str(float32["refused"] or ""),
                str(int8["passed"] or ""),
                "; ".join(list(reasons)[:2]),
            )
        )
    return "\n".join(lines) + "\n"


def _shortened(message: str) -> str:
    text = message.removeprefix("net.onnx: ").replace("|", "\\|")
    return text if len(text) < 140 else f"{text[:137]}..."


if __name__ == "__main__":
    sys.exit(main())
