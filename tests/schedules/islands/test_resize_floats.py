"""Resizing of floats by any tables of places and weights, beside numpy."""

import numpy as np
import pytest

from eq_tvm.schedules.islands.resize import bilinear, nearest

CASES = [((1, 3, 5, 7), (6, 10)), ((2, 16, 4, 4), (8, 8)), ((1, 40, 6, 3), (3, 9))]  # NCHW


def _places(rng, shape, size, *more):
    return [rng.integers(0, n, (m, *more), "int32") for n, m in zip(shape[2:], size, strict=True)]


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_nearest(cpu, folder, shape, size):
    rng = np.random.default_rng(0)
    x, (rows, columns) = rng.normal(size=shape).astype("float32"), _places(rng, shape, size)
    (got,) = cpu.run(folder, [(nearest(shape, size), [x, rows, columns])])
    np.testing.assert_array_equal(got, x[:, :, rows][..., columns])


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_bilinear(cpu, folder, shape, size):
    rng = np.random.default_rng(0)
    x, places = rng.normal(size=shape).astype("float32").transpose(0, 2, 3, 1), _places(rng, shape, size, 2)
    parts = [rng.random(n, "float32") for n in size]
    kernel = bilinear(x.shape, size, cpu.bits // 32)
    (got,) = cpu.run(folder, [(kernel, [np.ascontiguousarray(x), *places, *parts])])
    for axis, (place, part) in enumerate(zip(places, parts, strict=True), 1):
        part = part.reshape([-1 if i == axis else 1 for i in range(4)])
        x = x.take(place[:, 0], axis) * (1 - part) + x.take(place[:, 1], axis) * part
    np.testing.assert_allclose(got, x, rtol=1e-5, atol=1e-5)
