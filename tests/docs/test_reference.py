"""What the reference lists is what there is: options, targets, fields of bundles, parameters."""

import dataclasses
import json
import re

import pytest
from blocks import ROOT, text_of

from eq_tvm import cli
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.options.declared import CompileOptions
from eq_tvm.options.option import options_of
from eq_tvm.passes import LayerRecord
from eq_tvm.targets import TargetSpec, load_targets

BUNDLE = text_of("docs/reference/bundle.md")


def named(text):
    """What the first columns of the tables name."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.M)
    return {name for cell in cells for name in re.findall(r"`([\w-]+)[`, ]", cell)}


def fields(kind):
    return {field.name for field in dataclasses.fields(kind)}


@pytest.fixture
def known(capsys):
    """All options of all commands."""

    def shown(*command):
        assert cli.main([*command, "--help"]) == 0
        return capsys.readouterr().out

    listed = re.findall(r"^│ (\w+) ", shown(), re.M)
    assert len(listed) > 10
    return set(re.findall(r"--[a-z][a-z-]+", "".join(shown(*each) for each in [(), *zip(listed)])))


def test_options_exist(known):
    known = known | {"--install-completion", "--show-completion"}
    for page in ("README.md", *(str(file.relative_to(ROOT)) for file in (ROOT / "docs" / "using").glob("*.md"))):
        lines = (line for line in text_of(page).splitlines() if "pip " not in line and "benchmarks" not in line)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(lines))) <= known | {
            "--install-completion",
            "--show-completion",
        }, page
    board = [line for line in text_of("docs/raspberry-pi.md").splitlines() if line.startswith("python -m eq_tvm ")]
    assert set(re.findall(r"--[a-z][a-z-]+", "\n".join(board))) <= known


def test_each_option_of_compile_is_explained(known):
    page = text_of("docs/reference/options.md")
    explained = set(re.findall(r"`(--[a-z][a-z-]+)", page))
    assert explained <= known
    flags = {flag for option in options_of(CompileOptions) for flag in option.flag.split("/") if flag}
    assert flags <= explained


def test_targets_are_named():
    page = text_of("docs/reference/targets.md")
    for name in load_targets():
        assert f"`{name}`" in page
    assert fields(TargetSpec) - {"name"} <= named(page)
    for instruction in {each for target in load_targets().values() for each in target.instructions}:
        assert f"`{instruction}`" in page


def test_fields_of_bundles(small_bundle):
    description = json.loads((small_bundle / "bundle.json").read_text(encoding="utf-8"))
    top, calibration, kernels = re.split(r"^## (?:calibration|kernels)\n", BUNDLE, flags=re.M)
    files = {"model", "network", "bundle"}
    assert named(top) - files - {"bundle"} | {"model"} == description.keys() | {"model"}
    assert fields(Bundle) - {"path"} <= named(top)
    assert fields(LayerRecord) | description["calibration"].keys() == named(calibration)
    assert {key for kernel in description["kernels"] for key in kernel} <= named(kernels)


def test_links_lead_somewhere():
    pages = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
    for file in [*(ROOT / page for page in pages), *(ROOT / "docs").rglob("*.md")]:
        for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", file.read_text(encoding="utf-8")):
            target = file.parent / link if link else file
            assert target.exists(), f"{file.relative_to(ROOT)}: {link}"
            assert not anchor or anchor in anchors(target), f"{file.relative_to(ROOT)}: {link}#{anchor}"


def anchors(file):
    """Those that GitHub gives to headings."""
    text = re.sub(r"^ *```.*?^ *```", "", file.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)}
