"""`bench`: how fast a bundle is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eq_tvm.cli.app import Json, app, examples, without_compiler
from eq_tvm.cli.board_options import Key, Most, Rpc, Tracker, board_of
from eq_tvm.errors import UserError


@app.command(
    epilog=examples(
        "bench net-native.eqtvm --threads 1",
        "bench net-rpi4.eqtvm --rpc raspberrypi.local:9090",
        "bench net-rpi4.eqtvm --tracker 192.168.0.2:9190 --key rpi4 --boards 4",
    )
)
def bench(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads to run on.", show_default="all physical cores")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="How long to measure.")] = 3.0,
    layers: Annotated[bool, typer.Option("--layers", help="Print where the time goes, layer by layer.")] = False,
    as_json: Json = False,
    rpc: Rpc = None,
    tracker: Tracker = None,
    key: Key = None,
    boards: Most = None,
) -> None:
    """Time a bundle on this machine or a board, on random input."""
    from eq_tvm.bench import bench, bench_layers
    from eq_tvm.boards.bench_boards import bench_boards
    from eq_tvm.boards.places import Boards
    from eq_tvm.cli.report import layers_report

    if not layers:  # which compiles, to find out what the processor can do
        without_compiler()
    if boards is not None:
        if layers:
            raise UserError("--layers is for one board: leave --boards out")
        several = bench_boards(bundle, Boards(rpc, tracker, key, boards), threads=threads, seconds=seconds)
        print(json.dumps(several) if as_json else _report(several))
        return
    with board_of(rpc, tracker, key) as board:
        if layers:
            rows = bench_layers(bundle, threads=threads, seconds=seconds, board=board)
            print(json.dumps(rows) if as_json else layers_report(rows))
            return
        result = bench(bundle, threads=threads, seconds=seconds, board=board)
    print(json.dumps(result) if as_json else _TEXT.format(**result))


_TEXT = "median {median_ms:.3f} ms, fastest {min_ms:.3f} ms ({runs} runs, threads: {threads})"


def _report(several: dict[str, Any]) -> str:
    rows = [f"{result['board']}: {_TEXT.format(**result)}" for result in several["boards"]]
    end = "of {} boards: median {median_ms:.3f} ms, fastest {min_ms:.3f} ms".format(len(rows), **several)
    return "\n".join([*rows, end])
