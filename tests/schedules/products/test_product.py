"""Products of two tensors: equal to the integer program."""

from __future__ import annotations

import numpy as np
from cases import PLAIN, SEEDS, Activations, activations, epilogues, few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.products.product import product

SHAPES = st.one_of(
    st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 16, 24, 33, 64])),
)
WITHOUT_RESIDUAL = epilogues().filter(lambda epilogue: epilogue.residual is None)
EXTREME = [
    ((1, 28, 28, 64), gate, Activations(0, 255, "uint8", "high"), Activations(-128, 127, "int8", "low"), PLAIN, 0)
    for gate in (False, True)
]


@given(
    st.lists(
        st.tuples(SHAPES, st.booleans(), activations(), activations(), WITHOUT_RESIDUAL, SEEDS), min_size=1, max_size=8
    )
)
@example(EXTREME)
@few(6)
def test_product(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, gate, first, second, epilogue, seed in drawn:
        rng, gate = np.random.default_rng(seed), gate and len(shape) == 4
        a = first.array(rng, shape)
        b = second.array(rng, (shape[0], 1, 1, shape[3]) if gate else shape)
        acc = a.astype("int32") * b
        m = epilogue.multipliers(rng, acc, (1,))
        func = product(shape, gate, (first.dtype, second.dtype), cpu.bits // 16, epilogue.output)
        jobs.append((func, [a, b, epilogue.stored_multipliers(m), epilogue.limits()]))
        expected.append(epilogue.expected(acc, m, None))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
