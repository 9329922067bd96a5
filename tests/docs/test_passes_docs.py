"""docs/passes.md names all passes, with their parameters and defaults; its block runs in test_every_block.py."""

import inspect
import re
from pathlib import Path

import pytest

from eq_tvm import passes
from eq_tvm.passes.graph.relax_pass import parameters

PAGE = (Path(__file__).parents[2] / "docs" / "passes.md").read_text(encoding="utf-8")
SHARED = {"images", "scheme", "activation_range", "kept", "min_cosine", "refine", "progress", "module"}


@pytest.mark.parametrize("name", passes.__all__)
def test_everything_public_is_there(name):
    assert re.search(rf"\b{name}\b", PAGE) or name in ("Progress", "part_of")  # of progress alone


def _is_pass(value):
    return inspect.isclass(value) and value.__name__ not in ("LayerRecord", "Candidates")


@pytest.mark.parametrize("name", [name for name in passes.__all__ if _is_pass(getattr(passes, name))])
def test_parameters(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.M)
    wrapped = getattr(passes, name)
    for parameter in inspect.signature(wrapped).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        told = PAGE if parameter.name in SHARED else row
        value = parameter.default
        default = "" if value is parameter.empty else f"={_written(value)}"
        assert f"`{parameter.name}{default}`" in told or (not default and f"`{parameter.name}`" in told), parameter


def _written(value):
    if callable(value):
        return value.__name__
    return "Candidates()" if isinstance(value, passes.Candidates) else repr(value).replace("'", '"')


def test_canonical_passes_in_their_order():
    named = [each.info.name for each in passes.canonical_passes()]
    places = [PAGE.index(f"| `{name}` |") for name in dict.fromkeys(named)]
    assert places == sorted(places)


def test_calibrations_share_their_parameters():
    for name in ("KLCalibrate", "EasyQuantCalibrate"):
        assert SHARED - {"module"} <= parameters(type(getattr(passes, name)({})._inst)).keys()
