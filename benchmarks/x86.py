"""Times eq_tvm and other engines on this x86 machine, in turn, on the same networks. See README.md."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path

from peers import machine, models, networks
from peers.contest import contest
from peers.engines import ENGINES, USUAL, Engine
from peers.worker import Worker, WorkerError
from reports.report import ISA_TITLES, Result, instructions, table, write_json

# By instruction set: the processor feature it is, what eq_tvm compiles for, and what OpenVINO's oneDNN is told.
FEATURES = {"amx": "amx_int8", "vnni": "avx512_vnni", "avx2": "avx2"}
TARGETS = {"amx": "x86-amx", "vnni": "native", "avx2": "x86"}
ENVIRONMENTS = {
    "amx": {"ONEDNN_MAX_CPU_ISA": "ALL"},
    "vnni": {"ONEDNN_MAX_CPU_ISA": "ALL"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}
if FEATURES["amx"] in machine.cpu_flags():  # which is not to be used where others are compared
    TARGETS["vnni"], ENVIRONMENTS["vnni"] = "x86-vnni", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}


class NothingTimed(Exception):
    """No engine ran on any network."""


def main() -> int:
    options = _options()
    engines = _present([ENGINES[name] for name in options.engines])
    isas = [isa for isa in options.isa if _has(isa)]
    context = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "settings": {"rounds": options.rounds, "seconds": options.seconds, "batch": options.batch},
        "onednn_isa": {},
    }
    results: list[Result] = []
    for name, model in _models(options):
        for isa in isas:
            failed: dict[str, str] = {}
            paths = _prepare(engines, model, isa, options.recompile, failed)
            if isa not in context["onednn_isa"] and any(engine.library == "openvino" for engine in engines):
                context["onednn_isa"][isa] = machine.onednn_isa(model, ENVIRONMENTS[isa])
            for threads in options.threads:
                result = Result(name, isa, threads, failed=dict(failed))
                _measure(result, paths, options)
                results.append(result)
                if options.json is not None:
                    write_json(options.json, context, results)
    results = [result for result in results if result.engines]
    if not results:
        raise NothingTimed("nothing was timed")
    _print(results, context)
    return 0


def _options() -> argparse.Namespace:
    parser = _Parser(
        description="Time eq_tvm, OpenVINO, ONNX Runtime and ncnn on this machine, in turn, on the same networks.",
        epilog="Example: python benchmarks/x86.py --networks resnet18 --isa vnni --threads 1 --json resnet18.json",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    every = {"nargs": "+", "metavar": "NAME"}
    names = f"of {', '.join(networks.NETWORKS)}; or real (all in --real), or real-NAME (one of them)"
    parser.add_argument("--networks", **every, default=list(networks.NETWORKS), help=names)
    parser.add_argument(
        "--batch", type=_positive, metavar="N", default=1, help="images at a time, of convolutional ones"
    )
    parser.add_argument("--isa", nargs="+", choices=TARGETS, default=list(TARGETS), help="instruction sets")
    parser.add_argument("--threads", nargs="+", type=_positive, metavar="N", default=[1, 2], help="numbers of threads")
    engines = f"of {', '.join(ENGINES)}; the others are compared with the first"
    parser.add_argument("--engines", **every, choices=ENGINES, default=USUAL, help=engines)
    parser.add_argument("--rounds", type=_positive, metavar="N", default=10, help="how many turns each engine has")
    parser.add_argument("--seconds", type=float, metavar="S", default=0.25, help="how long a turn takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", default=models.HERE / "work", help="for the models it makes"
    )
    parser.add_argument("--real", type=Path, metavar="DIR", default=models.REAL, help="trained networks (.onnx)")
    parser.add_argument("--recompile", action="store_true", help="compile eq_tvm's bundles even if nothing changed")
    options = parser.parse_args()
    if not options.seconds > 0:
        parser.error("--seconds must be positive")
    for name in options.networks:
        if name not in networks.NETWORKS and name != "real" and not name.startswith("real-"):
            parser.error(f"unknown network {name}; there are: {', '.join([*networks.NETWORKS, 'real', 'real-NAME'])}")
    one_by_one = [name for name in options.networks if name not in networks.NETWORKS or name in networks.TRANSFORMERS]
    if options.batch > 1 and one_by_one:
        parser.error(f"{one_by_one[0]} takes one image at a time: name others by --networks, or leave --batch out")
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"error: {message}\n")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no positive whole number")
    return int(text)


def _present(engines: list[Engine]) -> list[Engine]:
    missing = {engine.module for engine in engines if importlib.util.find_spec(engine.module) is None}
    for module in sorted(missing):
        _say(f"{module} is not installed: skipped")
    return [engine for engine in engines if engine.module not in missing]


def _has(isa: str) -> bool:
    present = FEATURES[isa] in machine.cpu_flags()
    if not present:
        _say(f"this processor has no {ISA_TITLES[isa]}: skipped")
    return present


def _models(options: argparse.Namespace):
    """The names and float models of the networks asked for, as far as they are there."""
    options.work.mkdir(parents=True, exist_ok=True)
    for asked in options.networks:
        names = models.real_networks(options.real) if asked == "real" else [asked]
        if not names:
            _say(f"no trained networks in {options.real}: skipped")
        for name in names:
            try:
                yield name, models.float_model(name, options.real, options.work, options.batch)
            except FileNotFoundError as e:
                _say(f"{e}: skipped")


def _prepare(engines: list[Engine], model: Path, isa: str, fresh: bool, failed: dict[str, str]) -> dict[str, Path]:
    """Make what each engine loads. An engine that can't have it goes to `failed`, with the reason."""
    paths = {}
    for engine in engines:
        if isa == "avx2" and not engine.obeys_isa and "avx512f" in machine.cpu_flags():
            failed[engine.name] = "uses AVX-512: it has no switch against that"
            continue
        _say(f"{model.stem}, {ISA_TITLES[isa]}: preparing {engine.title}", passing=True)
        try:
            paths[engine.name] = models.prepare(engine, model, TARGETS[isa], fresh)
        except Exception as e:  # of any engine's converter or compiler
            failed[engine.name] = _line(e)
            _say(f"{model.stem}, {ISA_TITLES[isa]}: no {engine.title}: {_line(e)}")
    return paths


def _measure(result: Result, paths: dict[str, Path], options: argparse.Namespace) -> None:
    """Start a process for each engine, and time them in turn."""
    label = f"{result.network}, {ISA_TITLES[result.isa]}, {_threads(result.threads)}"
    _say(f"{label}: loading", passing=True)
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for name, path in paths.items():
            try:
                worker = Worker(name, path, result.threads, ENVIRONMENTS[result.isa])
            except WorkerError as e:
                result.failed[name] = _line(e)
                _say(f"{label}: no {ENGINES[name].title}: {_line(e)}")
            else:
                workers[name] = stack.enter_context(worker)
        if workers:
            times = contest(
                workers,
                options.rounds,
                options.seconds,
                lambda done: _say(f"{label}: {done}/{options.rounds}", passing=done < options.rounds),
            )
            result.add(times, {name: worker.ran_as for name, worker in workers.items()})


def _print(results: list[Result], context: dict) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in context["versions"].items())
    print(f"{context['machine']['cpu']}, {context['date']}\n\n{versions}")
    for isa in dict.fromkeys(result.isa for result in results):
        same_isa = [result for result in results if result.isa == isa]
        for threads in dict.fromkeys(result.threads for result in same_isa):
            print("\n" + table([result for result in same_isa if result.threads == threads]))
        print("\n" + instructions(same_isa))
        if context["onednn_isa"].get(isa):
            print(f"- oneDNN in OpenVINO: {context['onednn_isa'][isa]}")
        for name in dict.fromkeys(name for result in same_isa for name in result.failed):
            reasons = {result.network: result.failed[name] for result in same_isa if name in result.failed}
            for reason in dict.fromkeys(reasons.values()):
                where = ", ".join(network for network, text in reasons.items() if text == reason)
                print(f"- {ENGINES[name].title}, not timed for {where}: {reason}")


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _say(message: str, passing: bool = False) -> None:
    """Progress on stderr; on a terminal the next line replaces one that is `passing`."""
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="" if passing else "\n", file=sys.stderr, flush=True)
    else:
        print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NothingTimed, WorkerError, OSError) as e:
        print(f"error: {_line(e)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
