"""README.md is short, its figures are those of the pages that commands wrote, and what it asks for is what CI does."""

import re
from pathlib import Path

import pytest
import yaml
from blocks import ROOT, blocks, text_of

from eq_tvm.targets import load_targets

README = text_of("README.md")
TEST_COMMAND = "python -m pytest -n 2"
CI = text_of(".ci/run")


def test_the_network_of_the_reader_comes_within_two_screens():
    end = README.index("- `compile` writes")
    assert README[:end].count("\n") <= 90
    (block,) = (each for each in blocks("README.md", "sh") if "net.onnx" in each.text)
    assert [line.split()[:4][-1] for line in block.text.splitlines()[1:]] == ["compile", "evaluate", "report", "run"]
    assert block.text.count("\n") == 5


def test_figures_are_those_of_the_pages():
    tables = re.findall(r"^\|.*?(?=\n\n)", README[: README.index("## Set up")], re.M | re.S)
    pages = [text_of("docs/accuracy.md"), text_of("benchmarks/README.md")]
    assert len(tables) == len(pages)
    for table, page in zip(tables, pages, strict=True):
        for row in table.splitlines()[2:]:
            name, *figures = (cell.strip() for cell in row.strip("|").split("|"))
            (source,) = re.findall(rf"^\| {re.escape(name)} \|.*", _part(page), re.M)
            assert [cell in re.split(r"[ |()]+", source) for cell in figures] == [True] * len(figures), name


def _part(page):
    """The summary of accuracy, the newest table for AVX-512 VNNI."""
    if "### squeezenet1_1" in page:
        return page[: page.index("### squeezenet1_1")]
    return page[page.index("| AVX-512 VNNI (Zen 4) |") : page.index("| AVX2 (Zen 4) |")]


def test_ci_sets_up_and_runs_the_test_command():
    assert f"./setup.sh && . .venv/bin/activate && {TEST_COMMAND}\n" in README
    assert f"{TEST_COMMAND}\n" in CI and "step ./setup.sh\n" in CI


def test_ci_checks():
    for command in ("ruff check", "ruff format --check", "mypy", "mkdocs build"):
        assert f"step {command}" in CI


def test_setup_installs_the_cross_compilers_for_arm():
    packages = re.search(r"^packages=\((.*?)\)", text_of("setup.sh"), re.M)[1].split()
    assert {load_targets()[name].cross_package for name in ("rpi4", "rpi2-32")} <= set(packages)


def test_citation():
    """Whole, as the schema of the Citation File Format 1.2.0 asks, and with the paper."""
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= citation.keys()
    version = re.search(r'^version = "(.*)"', text_of("pyproject.toml"), re.M)[1]
    assert citation["version"] == version and citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys() and len(paper["authors"]) == 6
    assert "arXiv:2006.16669" in [identifier["value"] for identifier in paper["identifiers"]]


def test_citation_is_valid():
    cffconvert = pytest.importorskip("cffconvert.cli.create_citation", reason="cffconvert is not installed")
    cffconvert.create_citation(str(Path(ROOT) / "CITATION.cff"), None).validate()
