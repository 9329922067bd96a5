"""Weights that are fetched early: the right ones, and no result changes."""

import itertools
import re

import numpy as np
import pytest
from tvm import s_tir, te, tirx

from eq_tvm.schedules.common.lowered import lowered
from eq_tvm.schedules.common.prefetch import prefetch


@pytest.mark.parametrize("passes, beyond_l1, hints", [(True, True, [2, 3]), (True, False, [2]), (False, False, [3])])
@pytest.mark.parametrize("blocks", [1, 4])
def test_prefetch(cpu, folder, blocks, passes, beyond_l1, hints):
    """The next block of weights where there are several, and passes; weights ahead if they are beyond L1. Same results.

    What is ahead of the end is fetched, too, where there is nothing: that is no fault.
    """
    x, weights = te.placeholder((5, 64), "int32", "x"), te.placeholder((1, blocks, 64, 16), "int32", "weights")
    k = te.reduce_axis((0, 64), "k")
    out = te.compute((1, blocks, 5, 16), lambda g, b, t, i: te.sum(x[t, k] * weights[g, b, k, i], axis=k), "out")
    sch = s_tir.Schedule(te.create_prim_func([x, weights, out]))
    t, i, step = sch.get_loops(sch.get_sblock("out"))[-3:]
    sch.reorder(t, step, i)
    prefetch(sch, step, [t] if passes else [], beyond_l1)
    sch.decompose_reduction(sch.get_sblock("out"), step)
    func = lowered(sch.mod["main"])
    found = [int(hint) for hint in re.findall(r"T.prefetch\(.*?, 0, (\d), 1\)", func.script())]
    assert found == [hint for hint in hints if blocks > 1 or hint == 3]
    rng = np.random.default_rng(0)
    a, b = rng.integers(-99, 100, (5, 64), "int32"), rng.integers(-99, 100, (1, blocks, 64, 16), "int32")
    (got,) = cpu.run(folder, [(func, [a, b])])
    np.testing.assert_array_equal(got, a @ b)


def test_all_passes_together_fetch_the_next_block(monkeypatch):
    """In order, without gaps, and evenly; after the last block comes the first."""
    places = []
    monkeypatch.setattr(tirx, "address_of", lambda load: places.append(load) or tirx.const(0, "int64"))
    weights = te.placeholder((2, 3, 4, 5, 64), "int8", "weights")
    x, tap, step = te.placeholder((7,), "int8", "x"), te.reduce_axis((0, 4), "tap"), te.reduce_axis((0, 5), "step")
    out = te.compute(
        (2, 3, 7, 64), lambda g, b, t, i: te.sum(x[t] * weights[g, b, tap, step, i], axis=[tap, step]), "out"
    )
    sch = s_tir.Schedule(te.create_prim_func([x, weights, out]))
    _, _, t, i, tap, step = sch.get_loops(sch.get_sblock("out"))
    sch.reorder(t, tap, step, i)
    prefetch(sch, step, [t], beyond_l1=False)
    lowered(sch.mod["main"])
    (load,) = places
    *block, _, _, element = load.indices
    values = {name: range(extent) for name, extent in {"g": 2, "b": 3, "t": 7, "tap": 4, "step": 5}.items()}

    def at(place, **given):
        """What an index is in each iteration, in order."""
        return [
            eval(str(place), dict(zip(values, each, strict=True)))
            for each in itertools.product(*({**values, **given}).values())
        ]

    once = {name: [0] for name in ("t", "tap", "step")}
    assert list(zip(*(at(place, **once) for place in block), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (0, 0),
    ]
    distances = np.diff(at(element, g=[0], b=[0]))
    assert distances.min() == distances.max() <= 64 and 7 * 4 * 5 * distances[0] >= 4 * 5 * 64
