"""YAML files, with all that can be wrong in them."""

import pytest

from eq_tvm.errors import UserError
from eq_tvm.files.yaml_file import read_yaml


def test_values(tmp_path):
    (tmp_path / "a.yaml").write_text("\ufeffa: &x {b: [1, 2.5, -1]}\nc: {<<: *x, d: null}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml", "file") == {"a": {"b": [1, 2.5, -1]}, "c": {"b": [1, 2.5, -1], "d": None}}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "a: 1\nb: 2\na: 3",
        "a: {b: 1, b: 2}",
        "a: 2001-99-99",
        'a: !!int "abc"',
        'a: !!bool "x"',
        'a: !!timestamp "x"',
        "a: !foo b",
        '!!python/object/apply:os.system ["true"]',
        "? [a, b]\n: 3",
        "a: " + "9" * 5000,
        "[" * 3000,
        "a: 1\n---\nb: 1",
        "a: \0",
    ],
)
def test_not_valid(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^my file .*a\.yaml is not valid YAML: .") as error:
        read_yaml(tmp_path / "a.yaml", "my file")
    assert "\n" not in str(error.value)


def test_a_key_twice_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("mean: 1\nstd: 2\nmean: 3")
    with pytest.raises(UserError, match=r"mean is there twice .*line 3, column 1"):
        read_yaml(tmp_path / "a.yaml", "file")


def test_not_readable(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin1"))
    for name, message in [
        ("none.yaml", "No such file"),
        (".", "Is a directory"),
        ("latin.yaml", "codec can't decode"),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(UserError, match=f"^can't read the file .*: .*{message}"):
            read_yaml(tmp_path / name, "file")
