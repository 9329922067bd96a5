"""`compare`: networks side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from eq_tvm.cli.app import Json, app, examples
from eq_tvm.errors import counted


@app.command(
    epilog=examples(
        "compare a.eqtvm b.eqtvm --data labelled.csv --reference net.onnx",
        "compare net-native.eqtvm net.onnx --data images/ --against onnxruntime,openvino",
    )
)
def compare(
    models: Annotated[list[Path], typer.Argument(metavar="BUNDLE|MODEL...")],
    data: Annotated[Path, typer.Option(metavar="DATA", help="An .npz, a .csv (file,label) or a directory.")],
    preprocess: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For all.", show_default="a bundle's own; for a MODEL the first bundle's"),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="The float32 network to compare all with.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="ENGINE,...", help="onnxruntime, openvino: what runs the MODELs, or else the reference."),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N images.")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="How long to time each.")] = 3.0,
    as_json: Json = False,
) -> None:
    """Put networks side by side: accuracy, closeness to float32, time of a run on one thread, size."""
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.comparing.compare import compare

    with show_progress() as progress:
        rows = compare(
            models,
            data,
            preprocess=preprocess,
            reference=reference,
            against=[name.strip() for name in (against or "").split(",") if name.strip()],
            limit=limit,
            seconds=seconds,
            progress=progress,
        )
    print(json.dumps(rows) if as_json else _table(rows))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each network, with the columns that say something of one at least."""
    if any("map" in row for row in rows):  # decisions between the numbers of boxes say nothing
        rows = [{key: value for key, value in row.items() if key != "agreement"} for row in rows]
    columns = {title: form for title, form in _COLUMNS.items() if any(row.get(form[0]) is not None for row in rows)}
    cells = [list(columns), *([_cell(row, *form) for form in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = [str.ljust if key in ("model", "engine") else str.rjust for key, *_ in columns.values()]
    lines = [
        "  ".join(pad(text, width) for pad, text, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in cells
    ]
    count = rows[0]["n"]
    return "\n".join([*lines, "", f"on {counted(count, 'image')}; ms: median of one run, on one thread; all in turn"])


def _cell(row: Mapping[str, Any], key: str, form: str, scale: float = 1) -> str:
    value = row.get(key)
    return "" if value is None else form.format(value if isinstance(value, str) else value * scale)


_COLUMNS: dict[str, tuple[Any, ...]] = {
    "network": ("model", "{}"),
    "run by": ("engine", "{}"),
    "top-1": ("top1", "{:.2%}"),
    "top-5": ("top5", "{:.2%}"),
    "mAP": ("map", "{:.4f}"),
    "mIoU": ("miou", "{:.4f}"),
    "agreement": ("agreement", "{:.2%}"),
    "cosine": ("cosine", "{:.6f}"),
    "ms": ("median_ms", "{:.3f}"),
    "MB": ("bytes", "{:.2f}", 1e-6),
}
