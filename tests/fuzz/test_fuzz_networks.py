"""Networks drawn at random: float32 is ONNX Runtime's, integers are the integer program's on every target.

A few in every run of the tests, each in one scheme on two targets; 500 with ``-m exhaustive``, each in both schemes on
all of them. ``FUZZ_SEED=7`` draws others.
"""

import os

import pytest
from checks import EMULATED, X86, check
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from networks import networks
from worker import Worker

SEED = int(os.environ.get("FUZZ_SEED", "0"))
FEW = settings(max_examples=4, deadline=None, database=None, derandomize=False, suppress_health_check=[*HealthCheck])
PARTS, MANY = 20, settings(FEW, max_examples=25)
METHODS = st.sampled_from(["minmax", "minmax", "mse+"])


@pytest.fixture(scope="module")
def worker(aarch64, armv7):
    """Checks in another process; skips, or fails in CI, where nothing can be emulated."""
    del aarch64, armv7
    made = Worker(check)
    yield made
    made.close()


@pytest.mark.parametrize("part", range(2))
def test_a_few(worker, part):
    targets = st.tuples(st.sampled_from([*X86]), st.sampled_from([*EMULATED]))

    @seed(1000 * SEED + part)
    @FEW
    @given(networks(), st.sampled_from(["int7", "int8"]), targets, METHODS)
    def run(drawn, scheme, targets, method):
        fulfils(worker(drawn.model.SerializeToString(), [scheme], [*targets], method))

    run()


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(PARTS))
def test_many(worker, part):
    @seed(1000 * SEED + 500 + part)
    @MANY
    @given(networks(), METHODS)
    def run(drawn, method):
        fulfils(worker(drawn.model.SerializeToString(), ["int7", "int8"], [*X86, *EMULATED], method))

    run()


def fulfils(verdict):
    """Networks are drawn so that none has to be refused; the few that ONNX Runtime can't run count for nothing."""
    kind, text = verdict
    assert kind in ("ok", "invalid"), f"{kind}: {text}"
