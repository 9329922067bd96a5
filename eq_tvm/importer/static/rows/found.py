"""Rules of operators that find things among rows: those beyond the count must not be found."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto

from eq_tvm.importer.protobuf import copy_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.rows.masking import computed, inside
from eq_tvm.importer.static.rows.rule import across
from eq_tvm.importer.static.selection import HANDLERS
from eq_tvm.importer.static.specializer import Specializer


def nonzero(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of what is not 0 in the rows that there are."""
    (data,) = node.input
    if data not in specializer.rows:
        raise across(specializer, node)
    if specializer.types[data].tensor_type.elem_type != TensorProto.BOOL:
        data = computed(specializer, "Cast", data, to=TensorProto.BOOL)
    there = inside(specializer, rows, len(specializer.shape(data)))
    HANDLERS["NonZero"](specializer, copy_of(node, [computed(specializer, "And", data, there)]), {})


def suppression(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of boxes and scores that have the same rows: a score of -inf is never taken."""
    boxes, scores, *others = node.input
    given = [specializer.rows.get(name) for name in (boxes, scores)]
    if None in given or [each.axis for each in given if each] != [1, 2] or any(n in specializer.rows for n in others):
        raise across(specializer, node)
    lowest = specializer.constant(np.float32(-np.inf))
    masked = computed(specializer, "Where", inside(specializer, rows, 3, 2), scores, lowest)
    HANDLERS["NonMaxSuppression"](specializer, copy_of(node, [boxes, masked, *others]), {})
