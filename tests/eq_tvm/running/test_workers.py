"""Threads that compute: they end nowhere in the middle, stay few, and let a program fork."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import eq_tvm
from eq_tvm import host
from eq_tvm.running import workers

X = np.random.default_rng(1).standard_normal((1, 3, 32, 32), dtype=np.float32)
POOLS = (1, 2)


@pytest.fixture(params=POOLS)
def threads(request, monkeypatch):
    """As if the environment asked for so many: the test's own workers, and no thread that has called yet."""
    monkeypatch.setattr(workers, "_state", workers._State())
    monkeypatch.setattr(workers, "_idle", [])
    monkeypatch.setattr(workers, "_this", threading.local())
    monkeypatch.setattr(host, "default_threads", lambda: request.param)
    return request.param


FORKS = """
import os, sys, threading
sys.modules["torch"] = None  # TVM would import it
import numpy as np
import eq_tvm

model = eq_tvm.load(sys.argv[1])
before = len(os.listdir("/proc/self/task"))
x = np.random.default_rng(1).standard_normal(model.inputs[0].shape).astype("float32")
expected = model.run(x)
assert len(os.listdir("/proc/self/task")) - before >= (int(os.environ["TVM_NUM_THREADS"]) - 1), "runs on one thread"

def check():
    for name, result in model.run(x).items():
        np.testing.assert_array_equal(result, expected[name])

main = threading.current_thread()

def fork(depth=0):
    child = os.fork()
    if not child:
        check()
        new = eq_tvm.load(sys.argv[1]).run(x)
        threads = [threading.Thread(target=check) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        if depth < 2: fork(depth + 1)
        if threading.current_thread() is not main: os._exit(0)  # as multiprocessing does
        sys.exit()  # which also runs what C++ does at the end
    _, status = os.waitpid(child, 0)
    assert status == 0, status

fork()  # right after a run: TVM's threads wait for the next one
check()

stop = False
def keep_running():
    while not stop: check()
others = [threading.Thread(target=keep_running) for _ in range(3)]
for other in others: other.start()
try:
    for _ in range(5): fork(2)
finally:
    stop = True
for other in others: other.join()
thread = threading.Thread(target=lambda: (check(), fork(2)))
thread.start(); thread.join()
print("done")
"""

PROCESSES = """
import multiprocessing, sys
sys.modules["torch"] = None  # TVM would import it
import numpy as np
import eq_tvm

model = eq_tvm.load(sys.argv[1])
x = np.random.default_rng(1).standard_normal(model.inputs[0].shape).astype("float32")
expected = model.run(x)["y"]

def run(x):
    return model.run(x)["y"]

with multiprocessing.get_context("fork").Pool(2) as pool:
    for y in pool.map(run, [x] * 6):
        np.testing.assert_array_equal(y, expected)
np.testing.assert_array_equal(model.run(x)["y"], expected)
print("done")
"""


@pytest.mark.parametrize("count", POOLS)
@pytest.mark.parametrize("script", [FORKS, PROCESSES], ids=["os.fork", "multiprocessing"])
def test_children_run_right_and_end(parallel, script, count):
    """In a process of its own: in that of the tests, others have called TVM from the threads that fork."""
    done = subprocess.run(
        [sys.executable, "-c", script, parallel.path],
        env=os.environ | {"TVM_NUM_THREADS": str(count)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_a_fork_waits_for_those_who_compute(threads):
    computing, go_on, ended = threading.Event(), threading.Event(), []

    def compute():
        with workers.computing():
            computing.set()
            go_on.wait(60)
            ended.append("computed")

    thread = threading.Thread(target=workers.call, args=(compute,))
    thread.start()
    computing.wait(60)
    threading.Timer(0.1, go_on.set).start()
    child = os.fork()
    if not child:
        os._exit(0 if ended else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_there_are_as_many_as_compute_at_a_time(parallel, threads):
    def count():
        return sum(thread.name == "eq_tvm" for thread in threading.enumerate())

    before = count()
    models = [eq_tvm.load(parallel) for _ in range(3)]
    for _ in range(5):
        with ThreadPoolExecutor(6) as pool:  # new threads of the program
            list(pool.map(lambda i: models[i % 3].run(X), range(30)))
    assert count() - before <= (3 if threads > 1 else 0)


@pytest.mark.parametrize("asked", ["0", "-1", "x", "", "2.5", "1000000000", "9" * 30, "\u0663", " 1 "])
@pytest.mark.parametrize("name", ["TVM_NUM_THREADS", "OMP_NUM_THREADS"])
def test_the_environment_asks_for_nonsense(name, asked, monkeypatch):
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    monkeypatch.setenv(name, asked)
    assert 1 <= host.default_threads() <= host.processors()
    assert asked.strip() != "1" or host.default_threads() == 1


def test_a_pool_of_the_environments_size(parallel):
    """Where nothing of TVM is loaded yet, and TVM itself would make as many threads as it is told."""
    command = [sys.executable, "-m", "eq_tvm", "bench", parallel.path, "--seconds", "0.01"]
    for asked in ("1000000000", "x"):
        done = subprocess.run(
            command, env=os.environ | {"TVM_NUM_THREADS": asked}, capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_kernels_call_reads_no_file(parallel, threads, monkeypatch):
    """TVM asks Linux for the number of processors, once for each call, where nobody has told it."""

    def reads():
        return int(Path("/proc/self/io").read_text().split("syscr: ")[1].split()[0])

    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    model = eq_tvm.load(parallel)
    model.run(X)
    before = reads()
    for _ in range(50):
        model.run(X)
    assert reads() - before < 50


def test_an_error_goes_to_who_asked(threads):
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            workers.call(lambda: 1 / 0)
        assert workers.call(lambda: 5) == 5


class _Alarm(Exception):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, _Alarm, SystemExit])
def test_who_is_interrupted_gets_no_others_result(threads, error):
    """A signal's handler may raise anything, as servers do that give a request up."""

    def handler(*_):
        raise error

    def work():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with workers.computing():
                time.sleep(0.01)
        return "late"

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        timer = threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGUSR1])
        timer.start()
        with pytest.raises(error):
            workers.call(work)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [workers.call(lambda i=i: i) for i in range(5)] == list(range(5))


def test_processors_stay_as_they_are(parallel, threads):
    """TVM binds threads to the first processors there are, be they this process's or not."""
    eq_tvm.load(parallel).run(X)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        workers.call(lambda: eq_tvm.load(parallel).run(X), 2)
        new = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
    finally:
        os.sched_setaffinity(0, allowed)
    assert all(processors <= allowed for processors in new)
    assert workers.call(lambda: os.environ.get("TVM_BIND_THREADS"), 2) == os.environ.get("TVM_BIND_THREADS")
    assert int(os.environ["TVM_THREAD_POOL_SPIN_COUNT"]) < 300_000  # TVM's, where nobody has said another
