"""Evaluating by the workers of a Dask scheduler on loopback: the same numbers, or one line that says what is wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from eq_tvm.errors import UserError
from eq_tvm.evaluate import evaluate
from eq_tvm.evaluating import dask_workers

distributed = pytest.importorskip("distributed", reason="the extra farm is not installed")


def start(program, *arguments):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments], **quiet)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A scheduler, and workers of one thread each."""

    def __init__(self, folder, workers):
        self.address, self.folder = f"127.0.0.1:{free_port()}", folder
        host, port = self.address.split(":")
        self.scheduler = start("scheduler", "--host", host, "--port", port, "--no-dashboard")
        self.workers = [self.worker(i) for i in range(workers)]
        with distributed.Client(f"tcp://{self.address}", timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60) if workers else None

    def worker(self, number):
        options = [
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            str(self.folder / str(number)),
        ]
        return start("worker", f"tcp://{self.address}", *options)

    def stop(self):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.stop()


def test_the_same_numbers(question, cluster):
    asked, expected = question
    assert json.dumps(evaluate(**asked, dask=cluster.address)) == json.dumps(expected)


def test_an_image_that_is_none(tiny, tmp_path, cluster):
    (tmp_path / "images").mkdir()
    for number in range(6):
        Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "4.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"on a Dask worker: .*4\.png"):
        evaluate(tiny.path, tmp_path / "images", dask=cluster.address)


def test_other_versions(classified, cluster, monkeypatch):
    monkeypatch.setattr(dask_workers, "_installed", lambda name: "0.0.1")
    with pytest.raises(UserError, match=r"has eq-tvm \S+, this machine eq-tvm 0\.0\.1: install the same on both"):
        evaluate(**classified, dask=cluster.address)


def test_nobody_there(classified, monkeypatch):
    monkeypatch.setattr(dask_workers, "SECONDS", 1.0)
    with pytest.raises(UserError, match="no Dask scheduler answers there; start one: dask scheduler"):
        evaluate(**classified, dask=f"127.0.0.1:{free_port()}")


def test_workers_that_go(classified, tmp_path, monkeypatch):
    """The parts of one that goes are done by another; without any, one line says so."""
    cluster = Cluster(tmp_path, 2)
    try:
        expected, await_ = evaluate(**classified), dask_workers._await

        def killing(*given):
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            await_(*given)

        monkeypatch.setattr(dask_workers, "_await", killing)
        assert evaluate(**classified, dask=cluster.address) == expected
        monkeypatch.setattr(dask_workers, "_await", await_)
        monkeypatch.setattr(dask_workers, "PATIENCE", 1.0)
        cluster.workers[1].kill()
        end = time.monotonic() + 30
        with pytest.raises(UserError, match=r"the scheduler has (had )?no workers"):
            while time.monotonic() < end:
                evaluate(**classified, dask=cluster.address)
    finally:
        cluster.stop()
