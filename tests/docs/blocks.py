"""The blocks of code in README.md, docs/ and the other pages, and the commands in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(file.relative_to(ROOT))
    for file in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and what stands before it on the page."""

    language: str
    text: str
    before: str

    @property
    def begins(self) -> str:
        """Its first line."""
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str:
        """The last file that the text before it names."""
        return re.findall(r"`([\w.-]+\.(?:yaml|csv))`", self.before)[-1]

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Of a shell: each line with what it prints. Lines that go on are joined; comments are left out."""
        if self.language == "sh":
            text = re.sub(r"(?<=\\|&)\n *", " ", self.text).replace("\\ ", "")
            return [(re.sub(r"\s+#.*", "", line).strip(), "") for line in text.splitlines()]
        first, *others = re.split(r"^\$ ", self.text, flags=re.M)
        return [("", first)] * bool(first) + [tuple(each.split("\n", 1)) for each in others]


def text_of(page: str) -> str:
    """A page, by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    """Those of a page in these languages (by default of any), in order."""
    text = text_of(page)
    found = [Block(each[2], textwrap.dedent(each[3]), text[: each.start()]) for each in _FENCE.finditer(text)]
    return [block for block in found if not languages or block.language in languages]


def commands(page: str, section: str = "") -> list[str]:
    """What follows `python -m eq_tvm` in the sh blocks of a page, or of one of its sections."""
    return [
        command.removeprefix("python -m eq_tvm ")
        for block in blocks(page, "sh")
        if section in ("", re.findall(r"^## (.*)", block.before, re.M)[-1])
        for command, _ in block.commands
        if command.startswith("python -m eq_tvm ")
    ]
