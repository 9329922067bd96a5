"""PReLU of quantized tensors: equal to the integer program."""

from __future__ import annotations

import numpy as np
from cases import SEEDS, activations, epilogues, few
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.schedules.operators.rectify import rectify

WITHOUT_RESIDUAL = epilogues().filter(lambda epilogue: epilogue.residual is None)
SHAPES = st.tuples(st.integers(1, 40), st.sampled_from([1, 3, 8, 16, 24, 33, 64]))


@given(st.lists(st.tuples(SHAPES, activations(), WITHOUT_RESIDUAL, SEEDS), min_size=1, max_size=8))
@few(6)
def test_rectify(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, source, epilogue, seed in drawn:
        rng = np.random.default_rng(seed)
        q = source.array(rng, shape)
        acc = q.astype("int32")
        m = epilogue.multipliers(rng, acc, (1,))
        slopes = (m * rng.uniform(-1, 1, shape[1:])).astype("float32")
        func = rectify(shape, source.dtype, cpu.bits // 16, epilogue.output)
        jobs.append((func, [q, np.float32(m), slopes, epilogue.limits()]))
        expected.append(epilogue.expected(acc, np.where(acc < 0, slopes, m), None))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
