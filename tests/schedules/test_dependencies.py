"""Folders of schedules depend one way: processor on common, kernels on both, choice on all."""

import ast
from pathlib import Path

import pytest

from eq_tvm import schedules

(ROOT,) = map(Path, schedules.__path__)
MAY_IMPORT = {
    "common": {"common"},
    "processor": {"common", "processor"},
    "convolution": {"common", "processor", "convolution"},
    "operators": {"common", "processor", "operators"},
    "choice": {"common", "processor", "convolution", "operators", "choice"},
}


def test_every_folder_is_known():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/*.py")), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("eq_tvm"), "imports here are relative"
            if node.level == 2:
                names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
                assert set(names) <= MAY_IMPORT[path.parent.name]
