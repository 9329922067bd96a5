"""The accuracy benchmark on networks and images made here."""

import json

import numpy as np

import accuracy
from reports import accuracy_report

RESULTS = {
    "net": {
        "float32": {"top1": 0.9, "agreement": 1.0, "cosine": 1.0, "n": 10, "seconds": 0.0},
        "eq_tvm-int7-kl": {"top1": 0.8, "agreement": 0.85, "cosine": 0.9987654, "n": 10, "seconds": 1.25},
    }
}


def test_table_replaces_what_stands_between_the_marks(tmp_path):
    document = tmp_path / "accuracy.md"
    document.write_text(f"before\n{accuracy_report._BEGIN}\nold\n{accuracy_report._END}\nafter\n")
    for _ in range(2):
        accuracy_report.write_table(document, RESULTS, "a cpu; numpy 2")
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("| eq_tvm-int7-kl | 85.00 | 80.00 | 10.00 | 0.99877 | 1.2 |") == 1
    assert "### net, 10 images" in text and "a cpu; numpy 2" in text


def test_networks_that_were_not_measured_keep_their_tables(tmp_path):
    document = tmp_path / "accuracy.md"
    document.write_text(f"{accuracy_report._BEGIN}\n{accuracy_report._END}\n")
    accuracy_report.write_table(document, RESULTS, "a cpu")
    for made_with in ("another cpu", "another cpu"):
        accuracy_report.write_table(document, {"other": RESULTS["net"]}, made_with)
    text = document.read_text()
    assert [text.count(part) for part in ("### net,", "### other,", "| net |", "| other |", "\na cpu\n")] == [1] * 5
    assert text.count("another cpu") == 1 and text.count("|---|") == text.count("|  | ")
    accuracy_report.write_table(document, RESULTS | {"other": RESULTS["net"]}, "a third")
    assert "cpu" not in document.read_text()


def test_networks_are_compiled_scored_and_kept(data, monkeypatch, capsys):
    arguments = ["accuracy.py", "--data", str(data), "--work", str(data / "work"), "--limit", "30", "--images", "8"]
    arguments += ["--methods", "minmax", "--schemes", "int8", "--peers", "onnxruntime"]
    monkeypatch.setattr("sys.argv", arguments)
    assert accuracy.main() == 0
    rows = json.loads((data / "work" / "accuracy.json").read_text())["results"]["digits"]
    assert set(rows) == {
        "float32",
        "eq_tvm-int8-minmax",
        *(f"onnxruntime-int8-{m}" for m in ("minmax", "entropy", "percentile", "minmax-s8s8")),
    }
    assert all(row["n"] == 30 and row["agreement"] > 0.9 and row["cosine"] > 0.99 for row in rows.values())
    assert "| eq_tvm-int8-minmax |" in capsys.readouterr().out
    # what was computed once is not computed again
    bundle = data / "work" / "digits-eq_tvm-int8-minmax.eqtvm" / "bundle.json"
    before = bundle.stat().st_mtime_ns
    np.savez(data / "work" / "digits.onnx-outputs-30.npz", np.zeros((30, 10), np.float32))
    assert accuracy.main() == 0
    assert bundle.stat().st_mtime_ns == before
    assert json.loads((data / "work" / "accuracy.json").read_text())["results"]["digits"]["float32"]["cosine"] == 1.0
