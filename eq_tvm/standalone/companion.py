"""What comes with a standalone library, for each language and build system.

main.c                 a program that reads raw tensor files and prints the top classes
eq_model.hpp           the library as a C++ class
eq_model.py            the same for Python, by ctypes
eq_model-config.cmake  a CMake package
eq_model.pc            the same for pkg-config

Each ends with a line that has the SHA-256 of the rest, so that a file that somebody changed is not overwritten.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.inputs.input_form import InputForm

_HERE = Path(__file__).parent / "companions"
EXAMPLE = "main.c"
_COMMENTS = {
    EXAMPLE: "//",
    "eq_model.hpp": "//",
    "eq_model.py": "#",
    "eq_model-config.cmake": "#",
    "eq_model.pc": "#",
}
NAMES = tuple(_COMMENTS)
MADE_OF_THEM = (Path(EXAMPLE).stem, "__pycache__")


def texts(network: Bundle, library: str) -> dict[str, str]:
    """The content of each file, by its name.

    Parameters
    ----------
    network : Bundle
    library : str
        The shared object's name, without ``lib`` and ``.so``.
    """
    made = {}
    for name, comment in _COMMENTS.items():
        text = (_HERE / name).read_text(encoding="utf-8")
        for field, value in _values(network, library).items() if name == "eq_model.py" else ():
            text = _assigned(text, field, value)
        text = text.replace("@library@", library).replace("@version@", network.versions.get("eq-tvm", "0"))
        made[name] = f"{text}{_mark(text, comment)}"
    return made


def changed(path: Path) -> str:
    """The name of a file in a directory that is not as it was written; empty where there is none."""
    for name, comment in _COMMENTS.items():
        if (path / name).exists():
            text, _, last = (path / name).read_text(encoding="utf-8").rpartition(comment)
            if comment + last != _mark(text, comment):
                return name
    return ""


def _mark(text: str, comment: str) -> str:
    return f"{comment} As eq_tvm wrote it: SHA-256 {hashlib.sha256(text.encode()).hexdigest()}\n"


def _values(network: Bundle, library: str) -> dict[str, object]:
    """What eq_model.py has to know of the network beyond what the library tells."""
    forms = [InputForm(info, network.preprocess) for info in network.inputs]
    return {
        "LIBRARY": f"lib{library}.so",
        "INPUTS": len(network.inputs),
        "OUTPUTS": len(network.outputs),
        "IMAGES": {form.info.name: form.steps.to_dict() for form in forms if form.layout},
        "ROWS": {info.name: (info.rows.axis, info.rows.count) for info in network.outputs if info.rows},
    }


def _assigned(text: str, field: str, value: object) -> str:
    """With another value where the file says ``FIELD: type = value``."""
    before, start, rest = text.partition(f"\n{field}: ")
    kind, equals, after = rest.partition(" = ")
    _, newline, after = after.partition("\n")
    return f"{before}{start}{kind}{equals}{value!r}{newline}{after}"
