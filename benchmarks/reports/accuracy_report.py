"""The accuracy tables."""

from __future__ import annotations

from pathlib import Path

_BEGIN, _END = "<!-- table: benchmarks/accuracy.py --write -->", "<!-- end of table -->"

Results = dict[str, dict[str, dict[str, float]]]  # by network, then by what ran it

# The summary's columns: the best of the rows whose names begin so.
_SUMMARY = {
    "eq_tvm INT6": "eq_tvm-int6-default",
    "eq_tvm INT7": "eq_tvm-int7-default",
    "eq_tvm INT8": "eq_tvm-int8-default",
    "ONNX Runtime INT8, best": "onnxruntime-int8-",
    "NNCF INT8, best": "nncf-int8-",
}


def table(results: Results) -> str:
    """A summary in Markdown, then one table for each network."""
    return "\n\n".join([_summary(results), *(_network(name, rows) for name, rows in results.items())])


def write_table(document: Path, results: Results, made_with: str) -> None:
    """Put the tables into a document, and what they were made with; networks that were not measured keep theirs."""
    before = document.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0].strip()
    put_between(document, _BEGIN, _joined(before, f"{made_with}\n\n{table(results)}"))


def _joined(before: str, after: str) -> str:
    """The tables of a document with those of some networks replaced, or appended; each part says what made it."""
    (head, *olds), (new_head, *news) = (text.split("\n\n### ") for text in (before, after))
    tables = [{text.split(",")[0]: text for text in texts} for texts in (olds, news)]
    if tables[0].keys() <= tables[1].keys():
        return after
    *made_with, summary = head.split("\n\n")
    *new_made_with, new_summary = new_head.split("\n\n")
    lines = {line.split(" | ")[0]: line for text in (summary, new_summary) for line in text.splitlines()}
    head = "\n\n".join([*dict.fromkeys(made_with + new_made_with), "\n".join(lines.values())])
    return "\n\n### ".join([head, *(tables[0] | tables[1]).values()])


def put_between(document: Path, begin: str, text: str) -> None:
    """Replace what stands in a document between a mark and the next end of a table."""
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(_END)[2]
    document.write_text(f"{before}{begin}\n\n{text}\n\n{_END}{after}", encoding="utf-8")


def table_line(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _summary(results: Results) -> str:
    lines = table_head("", *_SUMMARY)
    for name, rows in results.items():
        lines.append(table_line(name, *(_best(rows, begin) for begin in _SUMMARY.values())))
    return "\n".join(lines)


def _best(rows: dict[str, dict[str, float]], begin: str) -> str:
    """Agreement and top-1 loss of the best row whose name begins so; of a detector recall and precision."""
    main = "recall" if _is_detector(rows) else "agreement"
    row = max((row for name, row in rows.items() if name.startswith(begin)), key=lambda row: row[main], default=None)
    if row is None:
        return ""
    second = row["precision"] if _is_detector(rows) else rows["float32"]["top1"] - row["top1"]
    return f"{100 * row[main]:.2f} ({100 * second:.2f})"


def _network(name: str, rows: dict[str, dict[str, float]]) -> str:
    numbers = (
        ("recall %", "precision %", "score difference")
        if _is_detector(rows)
        else ("agreement %", "top-1 %", "loss", "cosine")
    )
    count = " or ".join(map(str, sorted({row["n"] for row in rows.values()})))
    lines = [f"### {name}, {count} images", "", *table_head("", *numbers, "calibration, CPU s")]
    for entrant, row in rows.items():
        seconds = f"{row['seconds']:.1f}" if row["seconds"] else ""
        lines.append(table_line(entrant, *_numbers(row, rows), seconds))
    return "\n".join(lines)


def _numbers(row: dict[str, float], rows: dict[str, dict[str, float]]) -> list[str]:
    if _is_detector(rows):
        return [f"{100 * row['recall']:.2f}", f"{100 * row['precision']:.2f}", f"{row['score_difference']:.4f}"]
    loss = "" if row is rows["float32"] else f"{100 * (rows['float32']['top1'] - row['top1']):.2f}"
    return [f"{100 * row['agreement']:.2f}", f"{100 * row['top1']:.2f}", loss, f"{row['cosine']:.5f}"]


def _is_detector(rows: dict[str, dict[str, float]]) -> bool:
    return "recall" in rows["float32"]


def table_head(*titles: str) -> list[str]:
    """The first two lines of a table in Markdown."""
    return [table_line(*titles), table_line(*["---"] * len(titles)).replace(" ", "")]
