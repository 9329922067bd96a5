"""Commands that are killed at any moment: the old output is there, the next run works, and removes what was left."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from commands_in_folder import COMPILE, start, write_network

from eq_tvm.artifacts import bundle as bundles

COMMANDS = {
    "compile": COMPILE,
    "tune": (*COMPILE, "--tune", "--tuning-file", "t.json"),
    "evaluate": ("evaluate", "b", "--data", "../images.npz", "--reference", "../net.onnx"),
    "analyze": ("analyze", "../net.onnx", "--calibration", "random", "--output", "a.json"),
    "export": ("export", "b", "x.onnx"),
}


def begin(folder, command):
    for name in ("here", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return start(folder / "here", command, TMPDIR=str(folder / "tmp"))


def finish(folder, command):
    process = begin(folder, command)
    process.communicate(timeout=300)
    assert process.returncode == 0


def kill(process, moment):
    """After so many seconds; wait until its child is gone, too, which the system ends with it."""
    time.sleep(moment)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except OSError:
        children = []
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}").exists() for child in children):
        time.sleep(0.01)


def outputs(folder):
    """What is there, of what is visible; it can be read, so it is whole. (Bundles that are tuned differ in kernels.)"""
    readers = {
        "b": lambda path: bundles.read(path).scheme,
        "t.json": lambda path: json.loads(path.read_text()),
        "a.json": lambda path: json.loads(path.read_text()),
        "x.onnx": lambda path: path.read_bytes(),
    }
    names = [name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    return {name: readers[name](folder / name) for name in names}


SOME = [("compile", 3)]
ALL = [pytest.param(name, 20, marks=pytest.mark.exhaustive) for name in COMMANDS]


@pytest.mark.parametrize(("name", "times"), [*SOME, *ALL])
def test_killed_at_any_moment(tmp_path, name, times):
    moments = random.Random(17)
    here, command = tmp_path / "here", COMMANDS[name]
    write_network(tmp_path)
    old_bundle = (*COMPILE, "--scheme", "int8")
    finish(tmp_path, old_bundle)
    before = shutil.copytree(here / "b", tmp_path / "before")
    begun = time.monotonic()
    finish(tmp_path, command)
    takes = time.monotonic() - begun
    new = outputs(here)
    shutil.rmtree(here / "b")
    before.rename(here / "b")
    for file in ("a.json", "x.onnx", "t.json"):
        if file in new:
            (here / file).write_text("{}")
    old = outputs(here)
    for _ in range(times):
        kill(begin(tmp_path, command), moments.uniform(0, takes))
        for file, content in outputs(here).items():
            assert content in (old[file], new[file]) or (file == "t.json" and _is_part(content, new[file]))
    finish(tmp_path, command)
    assert {path.name for path in here.iterdir()} == set(new)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert outputs(here).keys() == new.keys()


def _is_part(tuned, whole):
    """Of what is tuned, each layer is remembered when it is found."""
    return all(layers.keys() <= whole[processor].keys() for processor, layers in tuned.items())
