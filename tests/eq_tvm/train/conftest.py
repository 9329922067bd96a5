"""One thread each: tests run beside others."""

import pytest


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
