"""The tables of quantized networks that come and go."""

from __future__ import annotations

from pathlib import Path

from reports.accuracy_report import put_between, table_head, table_line

_BEGIN = "<!-- table: benchmarks/formats.py --write -->"

Results = dict[str, dict[str, dict[str, dict]]]  # by direction, then by network, then by what quantized it


def tables(results: Results) -> str:
    """Both in Markdown, with their headings."""
    incoming = [
        "network", "quantized by", "images", "decisions equal %", "difference, most", "mean", "ONNX Runtime itself %"
    ]  # fmt: skip
    outgoing = [
        "network", "scheme", "images", "decisions equal %", "images equal %", "margin", "compiled again: same integers",
        "ONNX Runtime itself %",
    ]  # fmt: skip
    return "\n\n".join(
        [
            "### Networks that others quantized",
            "\n".join([*table_head(*incoming), *_lines(results.get("in", {}), _incoming)]),
            "### Networks that are quantized here",
            "\n".join([*table_head(*outgoing), *_lines(results.get("out", {}), _outgoing)]),
        ]
    )


def write_tables(document: Path, results: Results, made_with: str) -> None:
    """Put them into a document, and what they were made with."""
    put_between(document, _BEGIN, f"{made_with}\n\n{tables(results)}")


def _lines(networks: dict[str, dict[str, dict]], cells) -> list[str]:
    return [
        table_line(network, name, str(row["n"]), *cells(row))
        for network, rows in networks.items()
        for name, row in rows.items()
    ]


def _incoming(row: dict) -> list[str]:
    differences = [
        f"{row[which]:.{digits}f} steps" if row["in_steps"] else f"{row[which]:.1e}"
        for which, digits in (("difference", 0), ("mean", 3))
    ]
    return [_percent(row["agreement"]), *differences, _percent(row["itself"]["agreement"])]


def _outgoing(row: dict) -> list[str]:
    margin = f"{row['margin']:.3f}" if row.get("margin") else ""
    agreement, itself = _percent(row["agreement"]), _percent(row["itself"]["agreement"])
    return [agreement, _percent(row["identical"]), margin, "yes" if row["same"] else "no", itself]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
