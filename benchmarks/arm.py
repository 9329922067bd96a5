"""Counts instructions and estimates cycles of eq_tvm and other engines on ARM processors, emulated. See README.md."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from emulated import arm_report, cycles
from emulated.arm_cpus import CPUS, Cpu
from emulated.arm_report import Cost, Result
from emulated.emulation import Emulation, EmulationError
from emulated.functions import Addresses, functions
from peers import machine, models
from peers.engines import ENGINES, Engine

NETWORKS = ("real-resnet20_cifar10", "real-squeezenet1_1", "real-mobilenet_v1_075", "resnet18")
ENGINES_HERE = list(ENGINES)


def main() -> int:
    options = _options()
    for tool in ("llvm-mc", "llvm-mca", "llvm-nm"):
        cycles.tool(tool)  # before anything runs for long
    engines = _present([ENGINES[name] for name in options.engines])
    context = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "settings": {"inferences": options.inferences, "share": cycles.SHARE, "llvm": cycles.LLVM},
    }
    options.work.mkdir(parents=True, exist_ok=True)
    emulation = Emulation(options.work)
    results: list[Result] = []
    for name in options.networks:
        try:
            model = models.float_model(name, options.real, options.work)
        except FileNotFoundError as e:
            _say(f"{e}: skipped")
            continue
        for cpu in (CPUS[cpu] for cpu in options.cpus):
            result = Result(name.removeprefix("real-"), cpu.name)
            for engine in engines:
                if cpu.half or not engine.half:
                    _estimate(result, engine, model, cpu, emulation, options)
            results.append(result)
            if options.json is not None:
                arm_report.write_json(options.json, context, results)
    results = [result for result in results if result.engines]
    if not results:
        raise EmulationError("nothing was counted")
    _print(results, context, options.functions)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Count instructions and estimate cycles of eq_tvm and other engines on emulated ARM processors.",
        epilog="Example: python benchmarks/arm.py --networks resnet18 --cpus cortex-a72 --functions 10",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    every = {"nargs": "+", "metavar": "NAME"}
    names = "the networks of x86.py, or real-NAME (a file in --real)"
    parser.add_argument("--networks", **every, default=list(NETWORKS), help=names)
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=list(CPUS), help="processors, by LLVM's names")
    engines = f"of {', '.join(ENGINES_HERE)}"
    parser.add_argument(
        "--engines",
        **every,
        choices=ENGINES_HERE,
        default=[name for name, engine in ENGINES.items() if engine.activation_range == "unsigned"],
        help=engines,
    )
    parser.add_argument("--targets-only", action="store_true", help="run eq_tvm only, for what the processors are")
    parser.add_argument(
        "--optimize",
        choices=("speed", "size"),
        default="speed",
        help="what eq_tvm compiles for; size: without Winograd",
    )
    parser.add_argument("--caches", action="store_true", help="a second estimate, with a model of the caches")
    parser.add_argument("--functions", type=int, metavar="N", default=0, help="list N functions of eq_tvm's bundles")
    parser.add_argument("--inferences", type=int, metavar="N", default=1, help="how many are counted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument("--work", type=Path, metavar="DIR", default=models.HERE / "work", help="for what it makes")
    parser.add_argument("--real", type=Path, metavar="DIR", default=models.REAL, help="trained networks (.onnx)")
    parser.add_argument("--recompile", action="store_true", help="compile eq_tvm's bundles even if nothing changed")
    options = parser.parse_args()
    if options.targets_only:
        options.engines = [name for name in options.engines if ENGINES[name].library == "eq_tvm"]
    if options.inferences < 1:
        parser.error("--inferences must be positive")
    return options


def _present(engines: list[Engine]) -> list[Engine]:
    missing = {engine.module for engine in engines if importlib.util.find_spec(engine.module) is None}
    for module in sorted(missing):
        _say(f"{module} is not installed: skipped")
    return [engine for engine in engines if engine.module not in missing]


def _estimate(
    result: Result, engine: Engine, model: Path, cpu: Cpu, emulation: Emulation, options: argparse.Namespace
) -> None:
    """Add what an engine costs to the result, or why it is not known."""
    _say(f"{result.network}, {cpu.title}: {engine.title}")
    try:
        prepared = models.prepare(engine, model, cpu.target, options.recompile, options.optimize)
        counts = emulation.count(engine, prepared, cpu, options.inferences)
        blocks = cycles.read_blocks(counts.blocks)
        estimate = cycles.estimate(blocks, cpu.name)
        figures = estimate.instructions, estimate.cycles, estimate.least
        cost = Cost(*(figure / options.inferences for figure in figures))
        if options.caches:
            _add_lines(cost, emulation.lines(engine, prepared, cpu, options.inferences), cpu, options.inferences)
        if engine.library == "eq_tvm":
            addresses = Addresses(counts.maps.read_text())
            cost.functions = functions(blocks, estimate, addresses, prepared, options.inferences)
    except cycles.CyclesError:
        raise
    except Exception as e:  # of any engine's converter or compiler
        result.failed[engine.name] = " ".join(str(e).split()) or type(e).__name__
        _say(f"{result.network}, {cpu.title}: no {engine.title}: {result.failed[engine.name]}")
    else:
        result.engines[engine.name] = cost


def _add_lines(cost: Cost, lines: Sequence[tuple[int, int]], cpu: Cpu, inferences: int) -> None:
    cost.lines = [(came / inferences, foreseen / inferences) for came, foreseen in lines]
    cost.cached = cost.cycles
    for (came, foreseen), cache in zip(cost.lines, cpu.caches, strict=True):
        cost.cached += foreseen * cache.transfer + (came - foreseen) * cache.wait


def _print(results: list[Result], context: dict, count: int) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in context["versions"].items())
    print(f"{context['date']}\n\n{versions}\n\n{arm_report.summary(results)}")
    for cpu in dict.fromkeys(result.cpu for result in results):
        print("\n" + arm_report.details(results, cpu))
    if count:
        for result in results:
            for name in result.engines:
                if ENGINES[name].library == "eq_tvm":
                    print("\n" + arm_report.hot_functions(result, name, count))
    for result in results:
        for name, reason in result.failed.items():
            print(f"\n- {result.network} on {CPUS[result.cpu].title}, no {ENGINES[name].title}: {reason}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (EmulationError, cycles.CyclesError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
