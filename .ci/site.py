"""Hooks of mkdocs: pages that live outside of docs/, and links from pages to anything else in the repository.

Links are written for GitHub: relative to the file. On the site those to pages lead to pages, and those to code to
`extra.source` (the environment variable SITE_SOURCE), or nowhere if that is empty.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # file in the repository -> its page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
FILES = {page: file for file, page in PAGES.items()}
LINK = re.compile(r"(?<!\!)\[((?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r"(!\[[^\]]*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)


def on_files(files, config):
    """Add the pages from outside."""
    for file, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links to where their targets are on the site."""
    here = page.file.src_uri
    origin = FILES.get(here, f"docs/{here}")
    parts = FENCE.split(markdown)
    for i in range(0, len(parts), 2):  # between blocks of code
        parts[i] = LINK.sub(lambda link: _placed(link, origin, here, config), parts[i])
        parts[i] = IMAGE.sub(lambda image: image[1] + (_page(origin, image[2], here) or image[2]) + image[3], parts[i])
    return "".join(parts)


def _placed(link, origin, here, config):
    text, target, anchor = link[1], link[2], link[3] or ""
    if re.match(r"[a-z]+:", target):
        return link[0]
    page = _page(origin, target, here)
    if page:
        return f"[{text}]({page}{anchor})"
    source = config.extra["source"]
    file = _resolved(origin, target)
    if not (ROOT / file).exists():
        return link[0]  # mkdocs names what is missing
    return f"[{text}]({source.rstrip('/')}/{file}{anchor})" if source else text


def _resolved(origin, target):
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))


def _page(origin, target, here):
    """The relative address of a page or picture, if the target is one."""
    file = _resolved(origin, target)
    page = PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else "")
    return posixpath.relpath(page, posixpath.dirname(here) or ".") if page else ""
