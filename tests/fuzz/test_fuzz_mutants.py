"""Pieces of real networks with something wrong: they compute what ONNX Runtime does, or are refused in one line."""

import os

import pytest
from hypothesis import HealthCheck, given, seed, settings
from mutant_checks import INTERNAL, check_mutant
from mutants import mutants
from worker import Worker

from eq_tvm import example

SEED = int(os.environ.get("FUZZ_SEED", "0"))
FEW = settings(max_examples=12, deadline=None, database=None, derandomize=False, suppress_health_check=[*HealthCheck])
PARTS, MANY = 10, settings(FEW, max_examples=200)
SHARED = ["resnet20_cifar10", "mobilenetv2_tiny_cifar10", "vit_cifar10", "ultraface_rfb_320", "squeezenet1_1"]


@pytest.fixture(scope="module")
def worker():
    made = Worker(check_mutant)
    yield made
    made.close()


def test_of_the_example(worker):
    _run(worker, [example.MODEL], FEW, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(PARTS))
def test_of_trained_networks(worker, part, shared_data):
    _run(worker, [example.MODEL, *(shared_data.models[name] for name in SHARED)], MANY, 1 + part)


def _run(worker, sources, how, part):
    @seed(1000 * SEED + part)
    @how
    @given(mutants(sources))
    def run(mutant):
        kind, text = worker(mutant.model, True)
        if kind == "refused":
            assert "\n" not in text and not any(word in text for word in INTERNAL), text
            return
        assert kind == "ok", f"{kind}: {text}"
        kind, text = worker(mutant.model, False)  # what it refuses, or ends by, may be compiled
        assert kind in ("ok", "invalid", "crash"), f"{kind}: {text}"

    run()
