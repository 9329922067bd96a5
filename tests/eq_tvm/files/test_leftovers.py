import fcntl
import os
import subprocess
import sys

import pytest

from eq_tvm.files.leftovers import left_behind, temporary_directory, temporary_file

PREFIX = ".eq_tvm-net-"


@pytest.mark.parametrize("make", [temporary_directory, temporary_file])
def test_what_is_in_use_is_not_left_behind(tmp_path, make):
    with make(tmp_path, PREFIX) as path:
        assert path.exists() and list(left_behind(tmp_path, PREFIX)) == []
    assert list(left_behind(tmp_path, PREFIX)) == [path]  # whoever made it has not removed it
    with make(tmp_path, PREFIX) as other:
        assert other != path and list(left_behind(tmp_path, PREFIX)) == [path]


def test_of_a_killed_process(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from eq_tvm.files.leftovers import temporary_directory\n"
        f"with temporary_directory(Path(sys.argv[1]), {PREFIX!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path]).returncode == -9
    assert [path.is_dir() for path in left_behind(tmp_path, PREFIX)] == [True]


def test_what_only_looks_alike(tmp_path):
    for name in (PREFIX, PREFIX + "1234567", PREFIX + "123456789", ".eq_tvm-other-12345678"):
        (tmp_path / name).mkdir()
    (tmp_path / (PREFIX + "12345678")).symlink_to(tmp_path)
    os.mkfifo(tmp_path / (PREFIX + "abcdefgh"))
    assert list(left_behind(tmp_path, PREFIX)) in ([], [tmp_path / (PREFIX + "abcdefgh")])
    assert list(left_behind(tmp_path / "none", PREFIX)) == []


def test_where_nothing_can_be_locked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with temporary_directory(tmp_path, PREFIX) as path:
        assert path.is_dir()
    assert list(left_behind(tmp_path, PREFIX)) == []  # nobody knows


def test_taken_for_left_behind_before_it_was_locked(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def remove_first(held, how):
        if not removed:
            removed.append(next(tmp_path.iterdir()))
            removed[0].rmdir()
        flock(held, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with temporary_directory(tmp_path, PREFIX) as path:
        assert path.is_dir() and path != removed[0]
