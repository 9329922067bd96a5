"""A part of ONNX's node tests: each passes, or is refused in one line."""

import pytest

from peers.node_tests import Outcome, names_of_operators, node_tests, run_case

EACH = 64  # all of them take minutes: benchmarks/operators.py


@pytest.mark.parametrize("start", range(2))
def test_none_is_wrong(start):
    outcomes = [run_case(case, "float32") for case in node_tests()[start * EACH // 2 :: EACH]]
    assert [outcome for outcome in outcomes if outcome.state not in ("passed", "refused")] == []
    assert all("\n" not in outcome.message for outcome in outcomes)
    assert sum(outcome.state == "passed" for outcome in outcomes) >= 0.7 * len(outcomes)


@pytest.mark.parametrize("name", ["test_basic_conv_with_padding", "test_conv_with_strides_padding", "test_matmul_2d"])
def test_quantized(name):
    (case,) = (case for case in node_tests(name) if case.name == name)
    assert run_case(case, "int8") == Outcome(name, "int8", "passed")


def test_operators_have_their_names():
    names = names_of_operators()
    assert names["test_conv_with_strides_padding"] == "Conv" and names["test_celu_expanded"] == "Celu"
