"""The table of calibration's time and memory."""

import re

import pytest

import calibration


def test_memory_is_that_of_a_process(data, monkeypatch, capsys):
    arguments = ["--data", str(data), "--networks", "digits", "--method", "minmax", "--images", "4"]
    monkeypatch.setattr("sys.argv", ["calibration.py", *arguments])
    assert calibration.main() == 0
    (row,) = re.findall(r"\| digits \| 4 \| \S+ \| \S+ \| (\d+) \| (\d+) \|", capsys.readouterr().out)
    peak, before = map(int, row)
    assert 50 < before <= peak < 2000  # Python and TVM take more, images of 8x8 pixels next to nothing


def test_unknown_network(data, monkeypatch):
    monkeypatch.setattr("sys.argv", ["calibration.py", "--data", str(data), "--networks", "net"])
    with pytest.raises(SystemExit, match=r"no network net in .*; with random weights there are resnet18"):
        calibration.main()
