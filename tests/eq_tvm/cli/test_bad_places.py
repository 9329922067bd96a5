"""Disks that are full, folders that can't be written, a directory or a home that is gone, several writers of one."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.running.check_bundle import check_bundle

COMPILE = ("compile", "--no-verify", "--images", "2", "--method", "minmax", "--output", "b")


def start(folder, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "eq_tvm", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, *arguments, **environment):
    """The exit code, what was printed, and the line that says what is wrong."""
    process = start(folder, *arguments, **environment)
    out, err = process.communicate(timeout=300)
    lines = [line for line in err.splitlines() if not line.startswith("[")]  # without what is being done
    return process.returncode, out, lines


def refused(folder, *arguments, **environment):
    code, _, (line,) = run(folder, *arguments, **environment)
    assert code == 2 and line.startswith("error: "), line
    return line


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    assert run(folder, *COMPILE)[0] == 0
    return folder / "b"


@contextmanager
def disk(folder, kilobytes):
    """A disk of that size, mounted in a folder."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"can't mount a small disk here: {e}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, but):
    """Leave so many bytes."""
    free = os.statvfs(folder)
    (folder / "fill").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - but)))


def test_a_full_disk_keeps_the_bundle_that_is_there(bundle, tmp_path):
    with disk(tmp_path, 4000):
        shutil.copytree(bundle, tmp_path / "b")
        before = bundles.read(tmp_path / "b")
        for kilobytes in (0, 200, 600):
            fill(tmp_path, kilobytes << 10)
            line = refused(tmp_path, *COMPILE)
            assert "No space left on device" in line or "MB left" in line
            assert sorted(os.listdir(tmp_path)) == ["b", "fill"] and bundles.read(tmp_path / "b") == before
            (tmp_path / "fill").unlink()


def test_a_full_disk_keeps_the_files_that_are_there(bundle, tmp_path):
    inputs = tmp_path.parent / f"{tmp_path.name}.npz"
    np.savez(inputs, **{info.name: np.zeros(info.shape, np.float32) for info in bundles.read(bundle).inputs})
    commands = [
        ("run", bundle, "--input", inputs, "--output", "old.npz"),
        ("analyze", bundle, "--output", "old.json"),
        ("export", bundle, "old.onnx"),
        (*COMPILE[:-1], bundle.parent / "other", "--tune", "--tuning-file", "old.tuning"),
    ]
    olds = {f"old.{suffix}": b"{}" for suffix in ("npz", "json", "onnx", "tuning")}
    with disk(tmp_path, 400):
        for name, content in olds.items():
            (tmp_path / name).write_bytes(content)
        fill(tmp_path, 0)
        for command in commands:
            assert "No space left on device" in refused(tmp_path, *command)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "fill"} == olds


def test_a_full_disk_for_temporary_files(bundle, tmp_path):
    with disk(tmp_path, 300):
        assert "MB left" in refused(bundle.parent, *COMPILE, TMPDIR=str(tmp_path))
        assert not os.listdir(tmp_path)


def test_a_disk_that_can_not_be_written(bundle, tmp_path):
    with disk(tmp_path, 4000):
        shutil.copytree(bundle, tmp_path / "b")
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        for command in [COMPILE, ("export", bundle, "o.onnx"), ("analyze", bundle, "--output", "o.json")]:
            assert "Read-only file system" in refused(tmp_path, *command)
        assert run(tmp_path, "verify", "b")[0] == 0  # reading needs no writing


def test_no_home(bundle, tmp_path):
    assert run(tmp_path, *COMPILE, HOME="/nowhere", XDG_CACHE_HOME="")[0] == 0
    assert "can't write the tuning file /proc/eq_tvm/tuning.json" in refused(
        tmp_path, *COMPILE, "--tune", HOME="/nowhere", XDG_CACHE_HOME="/proc"
    )


def test_a_working_directory_that_is_gone(tmp_path):
    script = f'mkdir "{tmp_path}/gone" && cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && {sys.executable} -m eq_tvm'
    done = subprocess.run(["bash", "-c", f"{script} compile"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: the working directory is gone (No such file or dir")
    assert len(done.stderr.splitlines()) == 1


def test_four_writers_of_one_bundle(bundle, tmp_path):
    """The last one wins; whoever reads at any time finds a whole one."""
    processes = [start(tmp_path, *COMPILE[:-2], "--scheme", s, "--output", "b") for s in ("int7", "int8") * 2]
    found = set()
    while any(process.poll() is None for process in processes):
        if (tmp_path / "b").exists():
            found.add(bundles.read(tmp_path / "b").scheme)
    assert [process.communicate()[1].splitlines()[-1:] for process in processes if process.returncode] == []
    assert os.listdir(tmp_path) == ["b"] and found <= {"int7", "int8"}
    assert dict(check_bundle(tmp_path / "b"))
