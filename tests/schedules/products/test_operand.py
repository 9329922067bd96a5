"""Matrices packed while the network runs: as constants are, on every multiply instruction."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SEEDS, few
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import product_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.direct_plan import pack_channels, pack_weights
from eq_tvm.schedules.products.operand import operand_bias, pack_operand, product_shape

EXTENTS = st.one_of(st.integers(1, 9), st.sampled_from([16, 33, 64, 130]))
FIRST = st.sampled_from(
    [Stored("int8", -63, 63), Stored("int8", 0, 127), Stored("uint8", 0, 255), Stored("int8", -127, 127)]
)
OUTPUTS = st.sampled_from(["int8", "uint8", "float32"])


@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(1, 3), EXTENTS, EXTENTS, EXTENTS),
            FIRST,
            st.sampled_from([63, 127]),
            OUTPUTS,
            st.permutations("gkn"),
            st.integers(0, 99),
            SEEDS,
        ),
        min_size=1,
        max_size=6,
    )
)
@few(6)
def test_as_constants_are(family, folder, drawn):
    jobs, expected = [], []
    for sizes, first, limit, dtype, axes, which, seed in drawn:
        conv = product_shape(*sizes)
        found = product_candidates(conv, first, Stored("int8", -limit, limit), Output(dtype), family.machine)
        plan, offset, stored, _ = found[which % len(found)].make.args
        assert stored == first.dtype
        count, _, depth, columns = sizes
        b = np.random.default_rng(seed).integers(-limit, limit + 1, (count, depth, columns)).astype("int8")
        operand = np.ascontiguousarray(b.transpose(["gkn".index(axis) for axis in axes]))
        oihw = b.transpose(0, 2, 1).reshape(count * columns, depth, 1, 1)
        packed = pack_weights(plan, oihw)
        jobs.append((pack_operand(plan, "".join(axes), "int8"), [operand]))
        expected.append(packed)
        if offset:
            jobs.append((operand_bias(plan, offset), [packed]))
            sums = -offset * oihw.reshape(len(oihw), -1).sum(1, dtype="int32")
            expected.append(pack_channels(plan, sums.astype("int32")))
    for got, want in zip(family.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(drawn))


def test_sums_that_could_overflow(family):
    conv = product_shape(1, 2, 140_000, 2)
    with pytest.raises(ValueError, match="could leave 32 bits"):
        product_candidates(conv, Stored("int8", -127, 127), Stored("int8", -127, 127), Output("int8"), family.machine)
