"""Layer and RMS normalization of rows of integers: equal to the integer program."""

from __future__ import annotations

import integer_ops as ops
import numpy as np
from cases import SEEDS, Activations, activations, few, integer_outputs
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.rows.layer_norm import layer_norm

SHAPES = st.tuples(st.integers(1, 9), st.one_of(st.integers(1, 70), st.sampled_from([192, 384, 768])))
EPSILONS = st.sampled_from([0.0, 1e-12, 1e-5, 1e-3, 1e6])


@given(
    st.lists(
        st.tuples(SHAPES, activations(), EPSILONS, st.booleans(), integer_outputs(), SEEDS), min_size=1, max_size=8
    )
)
@example(
    [
        ((197, 192), Activations(-2047, 2047, "int16"), 1e-5, True, ("int8", -127, 127), 0),  # shared among threads
        ((3, 768), Activations(0, 4095, "int16", "both"), 1e-5, True, ("int8", -127, 127), 1),  # squares beyond int32
        ((2, 16), Activations(-63, 63, "int8", "high"), 0.0, True, ("int8", -63, 63), 2),  # no variance
        ((197, 192), Activations(-2047, 2047, "int16"), 1e-5, False, ("int16", -2047, 2047), 3),
    ]
)
@few(5)
def test_layer_norm(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, source, epsilon, centered, (dtype, low, high), seed in drawn:
        rng, n = np.random.default_rng(seed), shape[1]
        scale, to = np.float32(rng.uniform(1e-3, 0.5)), np.float32(rng.choice([0.03, 0.0625, 1e-3]))
        q = source.array(rng, shape)
        gamma, beta = (rng.normal(size=n).astype("float32") for _ in range(2))
        bits, _ = ops.fixed_point([(np.float64(np.abs(beta).max()) / np.float64(to), 1)], max(-low, high))
        least = np.clip(np.rint(np.float64(np.float32(epsilon)) * n**2 / np.float64(scale) ** 2), 1, 2.0**52)
        limit = max(-source.low, source.high)
        output = Output(dtype, fraction=bits)
        factors = (gamma.astype("float64") / np.float64(to) * 2.0**bits).astype("float32")
        summands, limits = ops.constant_term(beta, to, bits), np.array([low, high, 0], "int32")
        func = layer_norm(shape, source.dtype, limit, cpu.bits // 32, output, 0, centered)
        jobs.append((func, [q, np.array([least]), factors, summands, limits]))
        deviations = ops.deviations(q.astype("int32"), scale, epsilon, centered)
        expected.append(ops.layer_norm(deviations, gamma, beta, to, low, high).astype(dtype))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
