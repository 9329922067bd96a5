"""The accuracy table."""

from __future__ import annotations

from pathlib import Path

_BEGIN, _END = "<!-- table: benchmarks/accuracy.py --write -->", "<!-- end of table -->"

Results = dict[str, dict[str, dict[str, float]]]  # by network, then by what ran it


def table(results: Results) -> str:
    """For each network one table in Markdown."""
    return "\n\n".join(_network(name, rows) for name, rows in results.items())


def write_table(document: Path, results: Results, cpu: str, versions: dict[str, str]) -> None:
    """Put the tables between the marks of a document."""
    before, _, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    made_with = f"{cpu}; {', '.join(f'{name} {version}' for name, version in versions.items())}"
    text = f"{before}{_BEGIN}\n\n{made_with}\n\n{table(results)}\n\n{_END}{after}"
    document.write_text(text, encoding="utf-8")


def _network(name: str, rows: dict[str, dict[str, float]]) -> str:
    number = {row["n"] for row in rows.values()}
    lines = [f"### {name}, {' or '.join(map(str, sorted(number)))} images", ""]
    lines += ["| | agreement % | top-1 % | loss | cosine | calibration, CPU s |", "|---|---|---|---|---|---|"]
    best = rows["float32"]["top1"]
    for entrant, row in rows.items():
        loss = f"{100 * (best - row['top1']):.2f}" if entrant != "float32" else ""
        seconds = f"{row['seconds']:.1f}" if row["seconds"] else ""
        lines.append(
            f"| {entrant} | {100 * row['agreement']:.2f} | {100 * row['top1']:.2f} | {loss} | {row['cosine']:.5f} "
            f"| {seconds} |"
        )
    return "\n".join(lines)
