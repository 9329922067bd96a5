"""The tables of what is simulated: against the integer program, and step by step."""

import re

import simulation
import steps


def test_the_integer_program_is_what_was_simulated(data, monkeypatch, capsys):
    document = data / "accuracy.md"
    document.write_text(f"before\n{simulation._BEGIN}\nold\n<!-- end of table -->\nafter\n")
    monkeypatch.setattr(simulation, "DOCUMENT", document)
    arguments = ["--data", str(data), "--method", "minmax", "--limit", "40", "--images", "8", "--write"]
    monkeypatch.setattr("sys.argv", ["simulation.py", *arguments])
    assert simulation.main() == 0
    (row,) = re.findall(r"\| digits \| 40 \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|", capsys.readouterr().out)
    same, cosine, simulated, compiled = map(float, row)
    assert same >= 95 and cosine > 0.999 and min(simulated, compiled) > 90
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text and "| digits |" in text


def test_each_step_has_its_error(data, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["steps.py", "--data", str(data), "--limit", "20", "--images", "8"])
    assert steps.main() == 0
    (row,) = re.findall(r"\| digits \| ([^\n]*) \|", capsys.readouterr().out)
    errors = [float(each) for each in row.split(" | ")]
    assert len(errors) == 7 and all(0 < each < 500 for each in errors)
