"""Disks that are full, folders that can't be written, a directory or a home that is gone, several writers of one."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import onnx
import pytest
from commands_in_folder import COMPILE, start, write_network

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.exporting.qdq import PRODUCER
from eq_tvm.running.check_bundle import check_bundle


def run(folder, *arguments, **environment):
    """The exit code, what was printed, and the line that says what is wrong."""
    process = start(folder, arguments, **environment)
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
    (folder / "here").mkdir()
    write_network(folder)
    assert run(folder / "here", *COMPILE)[0] == 0
    return folder / "here" / "b"


@pytest.fixture
def here(bundle, tmp_path):
    """A folder beside the network."""
    write_network(tmp_path)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


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


@pytest.mark.parametrize("inside", [".", "images"])
@pytest.mark.parametrize("flag", ["--save-images", "--dump-passes"])
def test_nothing_else_goes_into_a_bundle(bundle, here, flag, inside):
    shutil.copytree(bundle, here / "b")
    before = sorted((here / "b").iterdir())
    made = (*COMPILE[:2], flag, f"b/{inside}", "--synthesize", "2", "--no-verify", "--output")
    assert "is inside of the output b" in refused(here, *made, "b")
    assert "is inside of a bundle" in run(here, *made, "c")[2][-1]
    assert "is inside of the output new" in refused(here, *made[:3], "new/x", *made[4:], "new")
    assert sorted((here / "b").iterdir()) == before and not (here / "new").exists()


def test_a_full_disk_keeps_the_bundle_that_is_there(bundle, here):
    with disk(here, 4000):
        shutil.copytree(bundle, here / "b")
        before = bundles.read(here / "b")
        for kilobytes in (0, 20, 80):
            fill(here, kilobytes << 10)
            line = refused(here, *COMPILE)
            assert "No space left on device" in line or "MB left" in line
            assert sorted(os.listdir(here)) == ["b", "fill"] and bundles.read(here / "b") == before
            (here / "fill").unlink()


def test_a_full_disk_keeps_the_files_that_are_there(bundle, here):
    np.savez(here.parent / "x.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    commands = [
        ("run", bundle, "--input", "../x.npz", "--output", "old.npz"),
        ("analyze", bundle, "--output", "old.json"),
        ("export", bundle, "old.onnx"),
        (*COMPILE[:-1], "../other", "--tune", "--tuning-file", "old.tuning"),
    ]
    olds = {f"old.{suffix}": b"{}" for suffix in ("npz", "json", "tuning")}
    olds["old.onnx"] = onnx.ModelProto(producer_name=PRODUCER).SerializeToString()  # as if exported before
    with disk(here, 400):
        for name, content in olds.items():
            (here / name).write_bytes(content)
        fill(here, 0)
        for command in commands:
            assert "No space left on device" in refused(here, *command)
        assert {path.name: path.read_bytes() for path in here.iterdir() if path.name != "fill"} == olds


def test_a_full_disk_for_temporary_files(here, tmp_path):
    (tmp_path / "small").mkdir()
    with disk(tmp_path / "small", 300) as small:
        assert "MB left" in refused(here, *COMPILE, TMPDIR=str(small))
        assert not os.listdir(small) and not os.listdir(here)


def test_a_disk_that_can_not_be_written(bundle, here):
    with disk(here, 4000):
        shutil.copytree(bundle, here / "b")
        subprocess.run(["mount", "-o", "remount,ro", here], check=True)
        for command in [COMPILE, ("export", bundle, "o.onnx"), ("analyze", bundle, "--output", "o.json")]:
            assert "Read-only file system" in refused(here, *command)
        assert run(here, "analyze", "b")[0] == 0  # reading needs no writing


@pytest.mark.parametrize("kilobytes", [1, 30, 60])
def test_a_library_that_ends_the_process_where_a_file_becomes_too_large(here, kilobytes):
    """As LLVM does; nothing is left beside the output."""
    (here / "b").mkdir()
    command = " ".join([sys.executable, "-m", "eq_tvm", *COMPILE])
    done = subprocess.run(["bash", "-c", f"ulimit -f {kilobytes}; {command}"], cwd=here, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ")
    assert os.listdir(here) == ["b"]


def test_modules_of_the_users_are_none_of_pythons(here):
    """`python -m` puts the working directory in front of all."""
    (here / "csv.py").write_text("raise SystemExit('mine')")
    assert run(here, "targets")[0] == 0


def test_a_network_in_the_place_of_its_bundle(bundle, here):
    for command in ("run", "bench", "verify", "report", "pack"):
        assert "net.onnx is no bundle, which is a directory: of a network python -m eq_tvm compile" in refused(
            here, command, "../net.onnx"
        )
    assert "nothing to run on: pass --input FILE" in refused(here, "run", bundle)


def test_no_home(here):
    assert run(here, *COMPILE, HOME="/nowhere", XDG_CACHE_HOME="")[0] == 0
    assert "can't write the tuning file /proc/eq_tvm/tuning.json" in refused(
        here, *COMPILE, "--tune", HOME="/nowhere", XDG_CACHE_HOME="/proc"
    )


def test_a_working_directory_that_is_gone(tmp_path):
    script = f'mkdir "{tmp_path}/gone" && cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && {sys.executable} -m eq_tvm'
    done = subprocess.run(["bash", "-c", f"{script} compile"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: the working directory is gone (No such file or dir")
    assert len(done.stderr.splitlines()) == 1


def test_four_writers_of_one_bundle(here):
    """The last one wins; whoever reads at any time finds a whole one."""
    processes = [start(here, (*COMPILE, "--scheme", scheme)) for scheme in ("int7", "int8") * 2]
    found = set()
    while any(process.poll() is None for process in processes):
        if (here / "b").exists():
            found.add(bundles.read(here / "b").scheme)
    failed = [process.communicate()[1] for process in processes if process.returncode]
    assert not failed and os.listdir(here) == ["b"] and found <= {"int7", "int8"}
    assert dict(check_bundle(here / "b"))
