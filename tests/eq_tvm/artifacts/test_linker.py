"""Linking, and what goes wrong with it."""

import pytest

from eq_tvm.artifacts import linker
from eq_tvm.errors import UserError
from eq_tvm.targets import get_target


def test_what_the_linker_says_is_all_that_is_said(tiny_executable, tmp_path, monkeypatch):
    script = tmp_path / "c++"
    script.write_text("#!/bin/sh\necho ld: final link failed: No space left on device >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with pytest.raises(UserError) as error:
        linker.export(tiny_executable, get_target("native"), str(tmp_path / "model.so"))
    assert str(error.value) == "linking for native failed: ld: final link failed: No space left on device"
