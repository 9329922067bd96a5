"""The site: each page is in it, links lead to pages or to code, and nothing comes from other hosts."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml
from blocks import PAGES, ROOT, text_of

OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks.md"}


def test_each_page_has_its_place():
    nav = re.findall(r"([\w/-]+\.md)", text_of("mkdocs.yml"))
    pages = {OUTSIDE.get(page) or page.removeprefix("docs/") for page in PAGES} | {"changelog.md"}
    assert sorted(nav) == sorted(pages)


def test_no_folder_is_left_out_of_git():
    assert "build/" in text_of(".gitignore").splitlines()  # where the site lies
    assert re.search(r"^site_dir: build/", text_of("mkdocs.yml"), re.M)


@pytest.mark.skipif(not find_spec("mkdocstrings"), reason='pip install -e ".[docs]"')
def test_site(tmp_path):
    """Builds without a warning, opens without a connection."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": "", "SITE_SOURCE": "/code"})
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img)[^>]* src="([^"]*)"|<link[^>]* href="([^"]*)"[^>]*stylesheet', text)
        assert not [each for each in loaded if "//" in "".join(each)], page.name
    choice = (tmp_path / "site" / "how-it-works" / "choosing-a-kernel.html").read_text(encoding="utf-8")
    assert 'href="../integer-program.html"' in choice
    assert 'href="/code/schedules/choice/cost.py"' in choice
    python = (tmp_path / "site" / "reference" / "python.html").read_text(encoding="utf-8")
    for name in (
        "compiler.compile",
        "running.runtime.load",
        "evaluate.evaluate",
        "bench.bench",
        "boards.session.connect",
    ):
        assert f'id="eq_tvm.{name}"' in python


def test_settings_are_yaml():
    class Loader(yaml.SafeLoader):
        """With mkdocs' tags."""

    Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node))
    assert yaml.load(text_of("mkdocs.yml"), Loader)["strict"] is True
