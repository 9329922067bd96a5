"""Evaluating by several processes: the same numbers, whatever becomes of the processes."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eq_tvm.cli import main
from eq_tvm.errors import UserError
from eq_tvm.evaluate import evaluate
from eq_tvm.evaluating import processes
from eq_tvm.evaluating.parts import parts_of


@given(st.integers(0, 9), st.integers(1, 300), st.integers(1, 20))
def test_parts(start, count, workers):
    parts = parts_of((start, start + count), workers)
    assert [index for part in parts for index in range(*part)] == list(range(start, start + count))
    sizes = [end - begin for begin, end in parts]
    assert min(sizes) > 0 and max(sizes) - min(sizes) <= 1


def test_the_same_numbers(question):
    asked, expected = question
    done = []
    result = evaluate(**asked, workers=2, progress=lambda share, message: done.append((share, message)))
    assert json.dumps(result) == json.dumps(expected)
    assert done[-1] == (1.0, f"{expected['n']} of {expected['n']} images") and sorted(done) == done


def test_the_reference_is_judged_as_well(annotated):
    both = evaluate(**annotated)
    alone = evaluate(**annotated | {"model": annotated["reference"], "reference": None})
    assert both["float_miou"] == alone["miou"] != both["miou"]


def test_a_process_that_dies_in_the_middle(classified, monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])

    def kill(share, message):
        if len(started) == 1:
            os.kill(started[0].pid, signal.SIGKILL)

    expected = evaluate(**classified)
    assert evaluate(**classified, limit=None, workers=1) == expected
    monkeypatch.setattr(processes, "parts_of", lambda part, workers: parts_of(part, 1))
    monkeypatch.setattr(processes, "min", lambda *_: 1, raising=False)  # one at a time
    assert evaluate(**classified, workers=2, progress=kill) == expected
    assert len(started) == 2 and all(process.poll() is not None for process in started)


def test_processes_that_always_die(classified, monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match=r"3 processes ended at the samples .* \(exit code 1\): is there memory"):
        evaluate(**classified, workers=2)


def test_an_image_that_is_none(tiny, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(6):
        Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "4.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"4\.png") as error:
        evaluate(tiny.path, tmp_path / "images", workers=2)
    assert "\n" not in str(error.value)


def test_one_image(classified):
    assert evaluate(**classified, limit=1, workers=3) == evaluate(**classified, limit=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "--workers must be at least 1, not 0"),
        ({"workers": 2, "dask": "a:1"}, "exclude each other"),
        ({"workers": 2, "board": object()}, "a board runs one image at a time"),
    ],
)
def test_options(classified, options, said):
    with pytest.raises(UserError, match=said):
        evaluate(**classified, **options)


def test_command(classified, capsys):
    arguments = ["evaluate", str(classified["model"]), "--data", str(classified["data"]), "--json"]
    assert main(arguments) == 0
    alone = capsys.readouterr().out
    assert main([*arguments, "--workers", "2"]) == 0 and capsys.readouterr().out == alone
