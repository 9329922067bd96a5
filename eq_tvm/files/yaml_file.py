"""YAML that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from eq_tvm.errors import UserError, reason
from eq_tvm.files.regular_file import read_text


def read_yaml(path: str | Path, what: str) -> Any:
    """What a YAML file holds: numbers, texts, lists and mappings.

    Parameters
    ----------
    path : str or Path
    what : str
        What it is, for messages: ``targets file``.

    Raises
    ------
    UserError
        It can't be read, is not valid YAML, or has a key of a mapping twice.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"can't read the {what} {path}: {reason(e)}") from e
    try:
        return _Loader(text).get_single_data()
    except Exception as e:  # of a value that its tag does not allow, or deep nesting, PyYAML raises whatever it likes
        raise UserError(f"{what} {path} is not valid YAML: {reason(e)}") from e


class _Loader(yaml.SafeLoader):
    """Refuses what YAML forbids and PyYAML takes: a key twice, of which it forgets the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        names: list[str] = []
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                mark = key.start_mark
                raise yaml.constructor.ConstructorError(problem=f"{key.value} is there twice", problem_mark=mark)
            names.append(key.value)
        return super().construct_mapping(node, deep)
