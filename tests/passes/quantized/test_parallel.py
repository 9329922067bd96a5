"""Work shared among threads: the same results, in order, however many threads there are."""

import os

import numpy as np
import pytest
from small_networks import build, conv, random, relu
from tvm import relax

from eq_tvm.passes import CenterChannels, EqualizeChannels, MSECalibrate, round_weights
from eq_tvm.passes.quantized import parallel
from eq_tvm.passes.quantized.parallel import map_threads, over_elements, over_images


@pytest.fixture
def threads(monkeypatch):
    """A function that sets how many there are."""

    def of(count):
        parallel._pool.cache_clear()
        monkeypatch.setattr(os, "cpu_count", lambda: count)

    yield of
    parallel._pool.cache_clear()


def test_nested_work_is_done_by_the_same_thread(threads):
    threads(2)
    assert map_threads(lambda i: map_threads(lambda j: (i, j), range(3)), range(40)) == [
        [(i, j) for j in range(3)] for i in range(40)
    ]


def test_images_are_split_where_there_is_work(monkeypatch, threads):
    threads(3)
    monkeypatch.setattr(parallel, "_ELEMENTS", 20)
    x, one, seen = random(7, 10), random(1, 10), []
    found = over_images(lambda a, b: seen.append(len(a)) or np.rint(a + b).astype(np.int8), x, one)
    np.testing.assert_array_equal(found, np.rint(x + one).astype(np.int8))
    assert found.dtype == np.int8
    assert sorted(seen) == [1, 2, 2, 2]


@pytest.mark.parametrize("shapes", [[(7, 2, 5, 6)], [(7, 2, 5, 6), (1, 5, 1)], [(1, 2, 1, 6), (7, 2, 5, 6)], [(90, 3)]])
def test_elements_are_taken_part_by_part(shapes, monkeypatch, threads):
    threads(2)
    monkeypatch.setattr(parallel, "_CACHED", 16)
    arrays, largest = [random(*shape, seed=len(shape)) for shape in shapes], []

    def function(*parts):
        result = np.rint(sum(parts) * 9).astype(np.int8)
        largest.append(result.size)
        return result

    expected = np.rint(sum(arrays) * 9).astype(np.int8)
    found = over_elements(function, *arrays)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int8
    assert max(largest) <= 16 < expected.size


def test_the_result_takes_the_place_of_an_array_of_its_form(monkeypatch):
    monkeypatch.setattr(parallel, "_CACHED", 16)
    x, y = random(3, 5, 6), random(5, 1)
    expected = x + y
    assert over_elements(np.add, x, y, spare=x) is x
    np.testing.assert_array_equal(x, expected)
    for spare in (random(5, 1), np.zeros(x.shape)):
        assert over_elements(np.add, x, y, spare=spare) is not spare


def test_scales_are_the_same_bits_for_any_number_of_threads(monkeypatch, threads):
    monkeypatch.setattr(parallel, "_ELEMENTS", 500)

    def make(emit, x):
        a = relu(emit, conv(emit, x, "a", out=8), "ra")
        pooled = emit(relax.op.nn.max_pool2d(a, (2, 2), (2, 2)), "pool")
        b = emit(relax.op.tanh(conv(emit, pooled, "bb", out=8)), "tanh")
        return [conv(emit, b, "c")]

    images, found = {"x": random(21, 3, 16, 16)}, []
    for count in (1, 4):
        threads(count)
        mod = build(make, (1, 3, 16, 16))
        for prepare in (CenterChannels, EqualizeChannels):
            mod = prepare(images)(mod)
        calibration = MSECalibrate(images, refine=round_weights)
        found.append((calibration(mod).script(show_meta=True), calibration.record))
    assert found[0] == found[1]
