"""What a description must look like: the place of what does not fit."""

import copy
import json

import pytest

from eq_tvm.artifacts.form import misplaced

TINY = {"name": str, "rows?": (None, {"axis": int}), "values": [(int, float)], "levels": {str: (None, bool)}}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({}, None),
        ({"rows": None}, None),
        ({"rows": {"axis": 1, "more": []}, "others": 5}, None),
        ({"name": None}, "name"),
        ({"rows": {"axis": True}}, "rows.axis"),
        ({"rows": {}}, "rows.axis"),
        ({"rows": [1]}, "rows"),
        ({"values": [1, 2.5, "3"]}, "values[2]"),
        ({"values": {"0": 1}}, "values"),
        ({"levels": {"a": True, "b": 1}}, "levels.b"),
    ],
)
def test_misplaced(change, place):
    assert misplaced({"name": "x", "values": [0, 1.5], "levels": {"a": None}} | change, TINY) == place


def test_what_is_missing():
    assert misplaced([], TINY) == "" and misplaced({}, TINY) == "name"


def test_every_entry_that_is_none_of_its_type_is_found_or_not_read(tiny):
    """Nothing but a UserError, whatever stands in the place of an entry."""
    description = json.loads((tiny.path / "bundle.json").read_text())
    for name in set(description) - {"schema", "optimize", "not_exported", "constants", "model_file"}:
        for wrong in (5, [], "x", [[]], {"a": []}):
            if type(wrong) is not type(description[name]):
                assert misplaced(copy.deepcopy(description) | {name: wrong}).startswith(name)
