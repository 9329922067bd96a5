"""What a server does for weeks, in short: nothing grows, and what is replaced is what is loaded next."""

import gc
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import eq_tvm
from eq_tvm.artifacts import directory
from eq_tvm.errors import UserError
from eq_tvm.running import runtime

X = np.random.default_rng(1).standard_normal((1, 3, 32, 32), dtype=np.float32)


@pytest.fixture(autouse=True)
def own_temporary_files(tmp_path, monkeypatch):
    """Those of other processes, such as tests beside these, count for nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def resources():
    """What a process has: file descriptors, threads, mappings, temporary files; and bytes of memory."""
    status = Path("/proc/self/status").read_text()
    counts = {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "libraries": Path("/proc/self/maps").read_text().count(".so"),
        "temporary": sum(file.startswith("eq_tvm-") for file in os.listdir(tempfile.gettempdir())),
    }
    return counts, 1024 * int(status.partition("VmRSS:")[2].split()[0])


def check_growth(once, times, bytes_each):
    """That `once` leaves nothing behind, and at most so many bytes on average."""
    for _ in range(10):
        once()
    gc.collect()
    before, memory = resources()
    for _ in range(times):
        once()
    gc.collect()
    after, more = resources()
    assert after == before
    assert more - memory <= bytes_each * times + (1 << 20)  # of malloc's, which keeps some


@pytest.mark.parametrize("times", [60, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_loading_leaves_nothing_behind(parallel, tmp_path, times):
    paths = [shutil.copytree(parallel.path, tmp_path / f"{i}.eqtvm") for i in range(times + 10)]
    size, results = parallel.library.stat().st_size, []

    def once():
        results[:] = [eq_tvm.load(paths.pop()).run(X)["y"]]

    check_growth(once, times, size // 8)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    np.testing.assert_array_equal(results[0], eq_tvm.load(parallel).run(X)["y"])


@pytest.mark.parametrize("times", [500, pytest.param(10000, marks=pytest.mark.exhaustive)])
def test_running_leaves_nothing_behind(parallel, times):
    model = eq_tvm.load(parallel)
    check_growth(lambda: model.run(X), times, 256)


@pytest.mark.parametrize("times", [300, pytest.param(5000, marks=pytest.mark.exhaustive)])
def test_refusing_leaves_nothing_behind(parallel, times):
    model = eq_tvm.load(parallel)

    def once():
        with pytest.raises(UserError):
            model.run(X[:, :, :5])

    check_growth(once, times, 256)


def test_many_models_in_many_threads(parallel):
    expected = eq_tvm.load(parallel).run(X)["y"]

    def load_and_run(_):
        model = eq_tvm.load(parallel)
        return [model.run(X)["y"] for _ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        for results in threads.map(load_and_run, range(24)):
            for result in results:
                np.testing.assert_array_equal(result, expected)


def test_a_bundle_is_replaced_while_the_old_one_runs(parallel, other, tmp_path):
    path = tmp_path / "b.eqtvm"
    shutil.copytree(parallel.path, path)
    old, go_on, results = eq_tvm.load(path), True, []
    expected = old.run(X)["y"]

    def keep_running():
        while go_on:
            results.append(old.run(X)["y"])

    thread = threading.Thread(target=keep_running)
    thread.start()
    for source in (other, parallel, other):
        replace(path, source.path)
        new = eq_tvm.load(path)
        assert [info.shape for info in new.outputs] == [info.shape for info in source.outputs]
        assert new.run(X)["y"].shape == source.outputs[0].shape
    go_on = False
    thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_description_and_code_are_of_the_same_bundle(parallel, other, tmp_path, monkeypatch):
    """Though it is replaced between the two."""
    path = tmp_path / "b.eqtvm"
    shutil.copytree(parallel.path, path)
    stale, load_library, sources = runtime.bundles.read(path), runtime.load_library, [other.path, parallel.path]

    def load_late(library):
        if sources:
            replace(path, sources.pop(0))
        return load_library(library)

    monkeypatch.setattr(runtime, "load_library", load_late)
    assert eq_tvm.load(path).run(X)["y"].shape == parallel.outputs[0].shape and not sources
    replace(path, other.path)
    assert eq_tvm.load(stale).run(X)["y"].shape == other.outputs[0].shape
    sources += [parallel.path, other.path] * 10
    with pytest.raises(UserError, match="is replaced again and again: use a copy"):
        eq_tvm.load(path)


def replace(path, source):
    """As `compile` does."""
    with directory.replacing(path, "bundle") as new:
        shutil.copytree(source, new, dirs_exist_ok=True)
