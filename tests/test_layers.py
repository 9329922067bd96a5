"""Imports point one way, in no circle, and folders stay small and say what may live in them."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"eq_tvm": "eq_tvm", "passes": "eq_tvm.passes", "schedules": "eq_tvm.schedules"}  # folder -> installed as
FILES = 15  # in a folder, at most

# Each may import from itself and from those of lower rank.
RANKS = {
    "packages": {"eq_tvm.schedules": 0, "eq_tvm.passes": 1, "eq_tvm": 2},
    "passes": {
        f"eq_tvm.passes.{folder}": rank
        for rank, folder in enumerate(
            (
                "arithmetic",
                "graph",
                "canonical",
                "quantized",
                "prepare",
                "calibrate",
                "refine",
                "synthesize",
                "joint",
                "correlation",
                "islands",
                "order",
                "lower",
                "analysis",
                "mixed",
            )
        )
    },
    "schedules": {
        f"eq_tvm.schedules.{folder}": rank
        for folder, rank in {
            "common": 0,
            "processor": 1,
            "convolution": 2,
            "operators": 2,
            "winograd": 3,
            "islands": 3,
            "products": 3,
            "rowwise": 4,
            "choice": 5,
        }.items()
    },
    "eq_tvm": {
        "eq_tvm.files": 0,
        "eq_tvm.options": 1,
        "eq_tvm.importer": 1,
        "eq_tvm.artifacts": 1,
        "eq_tvm.inputs": 2,
        "eq_tvm.standalone": 3,
        "eq_tvm.quantizing": 3,
        "eq_tvm.building": 4,
        "eq_tvm.running": 5,
        "eq_tvm.boards": 6,
        "eq_tvm.train": 6,
        "eq_tvm.cli": 7,
    },
}


def modules():
    """Name -> file of all that is installed."""
    found = {}
    for folder, package in PACKAGES.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = file
    return found


MODULES = modules()


def imports(name):
    """The modules that one imports, also inside of functions and for types only."""
    file = MODULES[name]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*package[: len(package) + 1 - node.level], *filter(None, [node.module])])
            named = (f"{base}.{alias.name}" for alias in node.names)
            yield from (each for name in named for each in [name if name in MODULES else base] if each in MODULES)


IMPORTS = {name: set(imports(name)) for name in MODULES}


def test_imports_are_found():
    assert {"eq_tvm.artifacts.bundle", "eq_tvm.host", "eq_tvm.errors"} <= IMPORTS["eq_tvm.running.runtime"]
    assert "eq_tvm.passes.quantized.problem" in IMPORTS["eq_tvm.passes.quantized.layer_record"]
    assert "eq_tvm.pipeline" in IMPORTS["eq_tvm.compiler"]  # inside of a function


@pytest.mark.parametrize("ranks", RANKS.values(), ids=RANKS)
def test_imports_point_one_way(ranks):
    def of(module):
        return max((each for each in ranks if f"{module}.".startswith(f"{each}.")), key=len, default=None)

    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in sorted(others)
        if (mine := of(name)) and (theirs := of(other)) and mine != theirs and ranks[theirs] >= ranks[mine]
    ]
    assert not wrong


def test_no_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as e:
        pytest.fail(" <- ".join(e.args[1]))


def test_only_the_program_imports_the_command_line():
    above = {name for name, others in IMPORTS.items() if any(f"{other}.".startswith("eq_tvm.cli.") for other in others)}
    assert {name for name in above if not name.startswith("eq_tvm.cli")} == {"eq_tvm.__main__"}


def folders(*tops):
    found = [folder for top in tops for folder in [ROOT / top, *(ROOT / top).rglob("*")] if folder.is_dir()]
    made = {"__pycache__", "work"}  # by Python, and by benchmarks
    return [folder for folder in found if made.isdisjoint(folder.relative_to(ROOT).parts)]


def by_name(folder):
    return str(folder.relative_to(ROOT))


@pytest.mark.parametrize("folder", [ROOT, *folders(*PACKAGES, "benchmarks", "tests", "docs", ".ci")], ids=by_name)
def test_folders_are_small(folder):
    """So small that one sees what is there."""
    assert len([file for file in folder.iterdir() if file.is_file()]) <= FILES


@pytest.mark.parametrize("folder", folders(*PACKAGES), ids=by_name)
def test_packages_say_what_may_live_there(folder):
    assert len(ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or "") > 40


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by these alone, and leaves out a second one with an error."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_all_folders_are_installed():
    (listed,) = re.findall(
        r"^packages = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S
    )
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    assert set(re.findall(r'"(.*)"', listed)) == packages
