"""Layouts, against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.importer.relay.graph_writer import GraphWriter
from eq_tvm.importer.relay.layouts import convert_layout, parse_layout
from eq_tvm.importer.relay.operation import Operation


def converted(array, source, target):
    """Of a constant, which is computed at once."""
    operation = Operation("layout_transform", "node", (), {}, GraphWriter())
    return convert_layout(operation, operation.writer.constant(array), source, target).array


@given(st.permutations("NCHW"), st.permutations("NCHW"), st.sampled_from(["", "2c", "4c"]), st.data())
def test_there_and_back(source, target, block, data):
    """Every element has the same coordinates in both."""
    sizes = {"N": 2, "C": 8, "H": 3, "W": 5}
    plain = np.arange(240).reshape(2, 8, 3, 5)
    array = plain.transpose(["NCHW".index(letter) for letter in source])
    place = data.draw(st.integers(1, 4)) if block else 0
    layout = "".join([*target[:place], block, *target[place:]])
    if block and "C" not in target[:place]:
        layout = "".join(target) + block
    moved = converted(array, "".join(source), layout)
    where = {axis: index for index, axis in enumerate(parse_layout(layout))}
    coordinates = np.indices([sizes[letter] for letter in "NCHW"])
    factor = int(block[:-1]) if block else 1
    index = [None] * moved.ndim
    for axis, at in where.items():
        values = coordinates["NCHW".index(axis.letter)]
        index[at] = values % factor if axis.factor else values // (factor if axis.letter == "C" else 1)
    np.testing.assert_array_equal(moved[tuple(index)], plain)
    np.testing.assert_array_equal(converted(moved, layout, "".join(source)), array)


def test_weights_in_blocks():
    weights = np.arange(8 * 4 * 9).reshape(8, 4, 3, 3)
    blocked = weights.reshape(2, 4, 2, 2, 3, 3).transpose(0, 2, 4, 5, 3, 1)
    np.testing.assert_array_equal(converted(blocked, "OIHW2i4o", "OIHW"), weights)


@pytest.mark.parametrize("source,target", [("NCHW", "NCW"), ("NC", "CN"), ("NCHW", "NCHW3c"), ("NCHW", "NCHW2c2c")])
def test_what_does_not_fit_is_refused(source, target):
    with pytest.raises(ValueError):
        converted(np.zeros((1, 4, 2, 2)), source, target)
