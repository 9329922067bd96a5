"""Quantize, dequantize, rescale and add: equal to the integer program."""

from __future__ import annotations

import integer_ops as ops
import numpy as np
from cases import ACTIVATION_RANGES, SEEDS, Activations, activations, few, integer_outputs
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.operators import elementwise

# Sizes around vectors' and above what is shared among threads.
SHAPES = st.one_of(
    st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    st.sampled_from([(9,), (64,), (1, 10), (2, 7, 7, 33), (1, 28, 28, 32), (17, 1023)]),
)
IMAGES = st.tuples(st.integers(1, 2), st.sampled_from([1, 3, 5, 8, 16, 20]), st.integers(1, 9), st.integers(1, 40))


SCALES = [0.5, 0.1, 3e-4, 700.0, 2.0**-90, 2.0**90]


@given(
    st.lists(st.tuples(SHAPES | IMAGES, integer_outputs(), st.booleans(), st.booleans(), SEEDS), min_size=1, max_size=8)
)
@example(
    [
        ((1, 3, 64, 64), ("int8", -63, 63), True, True, 0),
        ((1, 1, 3, 9), ("uint8", 0, 255), True, False, 1),
        ((1, 1, 2, 1), ("int8", 0, 127), True, True, 2),
        ((1, 8, 12, 27), ("int8", -63, 63), True, False, 3),  # eight channels of a width that no vector divides
        ((40_000,), ("int16", -2047, 2047), False, True, 4),
        ((2, 300), ("int16", -32768, 32767), False, True, 5),  # the pairs of a model that was quantized before
    ]
)
@few(5)
def test_quantize(cpu, folder, drawn):
    """Ties go to the even number, and what is beyond the range, infinity too, to its end, divided or not."""
    jobs, expected = [], []
    for shape, (dtype, low, high), transpose, fused, seed in drawn:
        rng, transpose = np.random.default_rng(seed), transpose and len(shape) == 4
        scale = np.float32(rng.choice([*SCALES, rng.uniform(0.5, 1)]))
        x = (rng.normal(0, high, shape) * scale).astype("float32")
        special = rng.random(shape) < 0.4
        halves = (rng.integers(low, high, shape) + 0.5) * rng.choice([1, 1, 1, 4, np.inf], shape)
        x[special] = np.float32(halves[special] * scale)
        beside = np.isfinite(x) & (rng.random(shape) < 0.5)  # the nearest numbers to those in the middle
        x[beside] = np.nextafter(x[beside], np.float32(rng.choice([-np.inf, np.inf])))
        func = elementwise.quantize(shape, Output(dtype), transpose, fused)
        divisor = np.array([scale, np.float32(1) / scale][: 1 + fused])
        jobs.append((func, [x, divisor, np.array([low, high, 0], "int32")]))
        want = np.clip(np.rint(x / scale), low, high).astype(dtype)
        expected.append(want.transpose(0, 2, 3, 1) if transpose else want)
    _check(cpu, folder, drawn, jobs, expected)


@given(st.lists(st.tuples(SHAPES | IMAGES, activations(), st.booleans(), st.booleans(), SEEDS), min_size=1, max_size=8))
@few(5)
def test_dequantize(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, inputs, bounded, transpose, seed in drawn:
        rng, transpose = np.random.default_rng(seed), transpose and len(shape) == 4
        scale, q = np.float32(rng.uniform(1e-3, 2)), inputs.array(rng, shape)
        limits = np.array([0, 6] if bounded else [-np.inf, np.inf], "float32")
        jobs.append((elementwise.dequantize(shape, inputs.dtype, transpose), [q, np.array([scale]), limits]))
        want = np.clip(q.astype("float32") * scale, *limits)
        expected.append(want.transpose(0, 3, 1, 2) if transpose else want)
    _check(cpu, folder, drawn, jobs, expected)


@given(st.lists(st.tuples(SHAPES, activations(), integer_outputs(), SEEDS), min_size=1, max_size=8))
@few(4)
def test_rescale(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, inputs, (dtype, low, high), seed in drawn:
        rng = np.random.default_rng(seed)
        q, m = inputs.array(rng, shape), np.float32(rng.choice([0.5, 0.37, 1.9, 1e-3, 250]))
        limits = np.array([low, high, 0], "int32")
        jobs.append((elementwise.rescale(shape, inputs.dtype, Output(dtype)), [q, np.array([m]), limits]))
        expected.append(ops.requantize(q, m, low, high).astype(dtype))
    _check(cpu, folder, drawn, jobs, expected)


RATIOS = st.sampled_from([1.0, 0.5, 0.2, 1.3, 1e-4, 60.0, 9000.0])
EXTREME = [
    (
        (5, 13),
        (Activations(low, high, dtype, values), ratio),
        (Activations(-128, 127, "int8", "both"), ratio),
        ("int8", -128, 127),
        0,
    )
    for (low, high), dtype in zip(ACTIVATION_RANGES, ("int8", "int8", "uint8", "int8", "int8"), strict=True)
    for values in ("low", "high")
    for ratio in (1.0, 8000.0)
]


@given(
    st.lists(
        st.tuples(SHAPES, st.tuples(activations(), RATIOS), st.tuples(activations(), RATIOS), integer_outputs(), SEEDS),
        min_size=1,
        max_size=8,
    )
)
@example(EXTREME[:10])
@example(EXTREME[10:])
@few(4)
def test_add(cpu, folder, drawn):
    """In fixed point, whose fractional bits are fewer where one operand is coarse."""
    jobs, expected = [], []
    for shape, *terms, (dtype, low, high), seed in drawn:
        rng = np.random.default_rng(seed)
        f, scales = ops.fixed_point([(ratio, max(abs(term.low), abs(term.high))) for term, ratio in terms])
        a, b = (term.array(rng, shape) for term, _ in terms)
        func = elementwise.add(shape, (a.dtype.name, b.dtype.name), Output(dtype, fraction=f))
        jobs.append((func, [a, b, np.array(scales, "int32"), np.array([low, high, 0], "int32")]))
        fixed = [ops.raw_term(q, r) for q, r in zip((a, b), scales, strict=True)]
        expected.append(ops.add_terms(*fixed, f, low, high).astype(dtype))
    _check(cpu, folder, drawn, jobs, expected)


@given(
    st.lists(st.tuples(SHAPES, activations(), RATIOS, integer_outputs(), st.booleans(), SEEDS), min_size=1, max_size=8)
)
@example([((1, 28, 28, 32), Activations(-2047, 2047, "int16"), 1.0, ("int16", -2047, 2047), True, 0)])
@few(4)
def test_add_constant(cpu, folder, drawn):
    """One for each element, or broadcast along some axes."""
    jobs, expected = [], []
    for shape, source, ratio, (dtype, low, high), whole, seed in drawn:
        rng = np.random.default_rng(seed)
        extents = tuple(n if whole or rng.random() < 0.5 else 1 for n in shape)
        f, (r,) = ops.fixed_point([(ratio, max(abs(source.low), abs(source.high)))], max(-low, high))
        q, scale = source.array(rng, shape), np.float32(0.1)
        values = ops.constant_term(rng.normal(0, high / 10, extents).astype("float32"), scale, f)
        func = elementwise.add_constant(shape, extents, source.dtype, Output(dtype, fraction=f))
        jobs.append((func, [q, values, np.array([low, high, r], "int32")]))
        expected.append(ops.add_terms(ops.raw_term(q, r), values, f, low, high).astype(dtype))
    _check(cpu, folder, drawn, jobs, expected)


def _check(cpu, folder, drawn, jobs, expected):
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
