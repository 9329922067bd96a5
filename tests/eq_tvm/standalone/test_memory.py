"""The memory plan: what lives at the same time lies apart, and no more memory is taken than that needs."""

import hypothesis.strategies as st
import tvm
from hypothesis import given

from eq_tvm.standalone.memory import ALIGNMENT, Lifetime, aligned, lifetimes, plan
from eq_tvm.standalone.program import Program

LIFETIMES = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(0, 1000),
    st.integers(0, 20),
    st.integers(0, 8),
)


@given(st.lists(LIFETIMES, max_size=30))
def test_what_meets_lies_apart(lives):
    buffers = dict(enumerate(lives))
    offsets, total = plan(buffers)
    assert offsets.keys() == buffers.keys()
    for a, first in buffers.items():
        assert offsets[a] % ALIGNMENT == 0 and offsets[a] + first.size <= total
        for b, second in buffers.items():
            if a < b and first.meets(second):
                assert offsets[a] + first.size <= offsets[b] or offsets[b] + second.size <= offsets[a]
    needed = max((sum(aligned(one.size) for one in lives if one.first <= t <= one.last) for t in range(30)), default=0)
    assert needed <= total <= sum(aligned(one.size) for one in lives)


@given(st.integers(1, 20), st.integers(1, 1000))
def test_a_chain_takes_two_buffers(length, size):
    _, total = plan({i: Lifetime(size, i, i + 1) for i in range(length + 1)})
    assert total == 2 * aligned(size)


def test_lifetimes_of_a_program():
    program = Program(
        tvm.IRModule(),
        sizes=[8, 4, 16, 2, 32],
        constants={1: None},
        inputs=[0],
        outputs=[3, 0],
        calls=[("f", [0, 1, 2]), ("g", [2, 3]), ("h", [2, 4])],
    )
    assert lifetimes(program) == {
        0: Lifetime(8, 0, 3),
        2: Lifetime(16, 0, 2),
        3: Lifetime(2, 1, 3),
        4: Lifetime(32, 2, 2),
    }
