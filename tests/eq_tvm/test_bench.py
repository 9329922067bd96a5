"""The numbers that `bench` reports; never how fast anything is."""

import os
import signal
from dataclasses import replace
from threading import Timer, main_thread

import pytest

from eq_tvm import bench as bench_module
from eq_tvm import host
from eq_tvm.bench import bench, bench_layers, share_of_islands
from eq_tvm.errors import UserError


def test_keys(tiny):
    result = bench(tiny.path, threads=1, seconds=0.01)
    assert list(result) == ["median_ms", "min_ms", "threads", "runs"]
    assert 0 < result["min_ms"] <= result["median_ms"] and result["threads"] == 1 and result["runs"] >= 3


@pytest.mark.parametrize("threads", sorted({1, host.processors()}))
def test_threads_take_effect(tiny, monkeypatch, threads):
    import tvm_ffi

    pool_size = tvm_ffi.get_global_func("runtime.NumThreads")
    pool_size()  # this thread's pool is there already, of whatever size
    measure, seen = bench_module._measure, []
    monkeypatch.setattr(bench_module, "_measure", lambda *args: seen.append(pool_size()) or measure(*args))
    before = os.environ.get("TVM_NUM_THREADS")
    assert bench(tiny.path, threads=threads, seconds=0.01)["threads"] == threads
    assert seen == [threads] and os.environ.get("TVM_NUM_THREADS") == before


def test_share_of_islands(tiny):
    assert share_of_islands(replace(tiny, islands={})) is None
    all_of_it = {row["function"]: 1 for row in bench_layers(tiny.path, threads=1, seconds=0.01)}
    assert share_of_islands(replace(tiny, islands=all_of_it), seconds=0.01) == pytest.approx(1)
    function = next(iter(all_of_it))
    assert 0 < share_of_islands(replace(tiny, islands={function: 1}), seconds=0.01) <= 1
    assert share_of_islands(replace(tiny, islands={function: 1}, target=tiny.target | {"architecture": "z80"})) is None


def test_bad_numbers(tiny):
    with pytest.raises(UserError, match="must be positive numbers, not 0 and"):
        bench(tiny.path, threads=0)
    with pytest.raises(UserError, match="must be positive"):
        bench(tiny.path, threads=1, seconds=0)


def test_more_threads_than_processors(tiny):
    with pytest.raises(UserError, match=f"pass --threads {host.processors()} or less"):
        bench(tiny.path, threads=host.processors() + 1)


def test_ctrl_c_ends_the_measurement(tiny, monkeypatch):
    measure, runs = bench_module._measure, []

    def interrupted_measure(*args):
        Timer(0.1, signal.pthread_kill, [main_thread().ident, signal.SIGINT]).start()
        runs.append(measure(*args))

    monkeypatch.setattr(bench_module, "_measure", interrupted_measure)
    with pytest.raises(KeyboardInterrupt):
        bench(tiny.path, threads=1, seconds=20)
    assert runs == []
