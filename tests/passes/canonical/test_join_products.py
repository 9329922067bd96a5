import numpy as np
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import JoinProducts, NormalizeShapes


def steps(x, weights, count, *, bias=lambda step: None, axis=0):
    """The product of each step along an axis of x by weights of its own."""
    results = []
    for step in range(count):
        part = relax.op.strided_slice(x, [axis], [step], [step + 1], [1])
        result = relax.op.matmul(relax.op.reshape(part, (2, 6)), weights(step))
        results.append(result if bias(step) is None else relax.op.add(result, bias(step)))
    return relax.Tuple(results)


def test_steps_of_a_sequence():
    left = apply(module(lambda x: steps(x, lambda _: const(6, 5), 3), (3, 2, 6)), JoinProducts())
    assert left == ["reshape", "matmul", "reshape", *["strided_slice", "reshape"] * 3]


def test_the_middle_axis():
    left = apply(module(lambda x: steps(x, lambda _: const(6, 5), 3, axis=1), (2, 3, 6)), JoinProducts())
    assert left.count("matmul") == 1


def test_equal_biases_are_added_at_once():
    network = module(lambda x: steps(x, lambda _: const(6, 5), 3, bias=lambda _: const(5, seed=1)), (3, 2, 6))
    left = apply(network, JoinProducts())
    assert left[:4] == ["reshape", "matmul", "add", "reshape"] and left.count("add") == 1


def test_biases_of_their_own_stay_apart():
    network = module(lambda x: steps(x, lambda _: const(6, 5), 3, bias=lambda step: const(5, seed=step)), (3, 2, 6))
    assert apply(network, JoinProducts()).count("matmul") == 3


def test_other_weights_stay_apart():
    network = module(lambda x: steps(x, lambda step: const(6, 5, seed=step), 3), (3, 2, 6))
    assert apply(network, JoinProducts()).count("matmul") == 3


def test_a_few_steps_of_many_stay_apart():
    network = module(lambda x: steps(x, lambda _: const(6, 5), 3), (5, 2, 6))
    assert apply(network, JoinProducts()).count("matmul") == 3


def test_slices_of_what_is_multiplied_stay_apart():
    def network(x):
        parts = [relax.op.strided_slice(x, [1], [begin], [begin + 3], [1]) for begin in (0, 3)]
        return relax.Tuple([relax.op.matmul(part, const(3, 5)) for part in parts])

    assert apply(module(network, (2, 6)), JoinProducts()).count("matmul") == 2


def test_steps_that_are_taken():
    def network(x):
        taken = [relax.op.take(x, relax.const(np.array(step, "int64")), axis=0, mode="clip") for step in range(4)]
        return relax.Tuple([relax.op.matmul(step, const(6, 5)) for step in taken])

    assert apply(module(network, (4, 2, 6)), NormalizeShapes(), JoinProducts()).count("matmul") == 1
