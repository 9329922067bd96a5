"""Compiling in several threads at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import eq_tvm
from eq_tvm.building.turns import one_at_a_time


def test_threads_take_turns():
    inside = threading.Lock()

    @one_at_a_time
    def work(deeper):
        if deeper:  # which is no other thread
            return work(False)
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.01)
        inside.release()
        return threading.get_ident()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(work, [True] * 8))) > 1


def test_two_compilations(tiny_onnx, tmp_path):
    def compiled(name):
        return eq_tvm.compile(tiny_onnx, scheme="float32", verify=False, output=tmp_path / name).path.name

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(compiled, "abc")) == ["a", "b", "c"]
