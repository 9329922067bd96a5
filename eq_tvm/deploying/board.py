"""What a board says of itself, and whether a bundle can run there: asked before anything is copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eq_tvm import host
from eq_tvm.deploying.on_board import MARK
from eq_tvm.deploying.ssh import Machine
from eq_tvm.errors import UserError

OLDEST = (3, 10)  # of Python: what eq_tvm needs
_SECONDS = 30
_SCRIPT = f"""
say() {{ echo "{MARK}$1=$2"; }}
say system "$(uname -s)"
say machine "$(uname -m)"
say processor "$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo)"
say python "$(python3 -c 'import struct, sys; print(*sys.version_info[:3], 8 * struct.calcsize("P"))' 2> /dev/null)"
say venv "$(python3 -c 'import ensurepip, venv; print("yes")' 2> /dev/null)"
"""


@dataclass(frozen=True)
class Board:
    """What it is: the machine as ``uname -m`` calls it, and Python's version."""

    machine: str
    python: str


def marked(printed: bytes) -> dict[str, str]:
    """The ``key=value`` lines that are meant for this machine."""
    return dict(re.findall(rf"^{MARK}(\w+)=(.*)$", printed.decode(errors="replace"), re.M))


def check(machine: Machine, target: Mapping[str, Any]) -> Board:
    """The board, if it can run what is compiled for a target.

    Raises
    ------
    UserError
        It is of another architecture, lacks an instruction, or has no Python that does; or no way leads there.
    """
    said = marked(machine.run(_SCRIPT, doing="asking what it is", seconds=_SECONDS))
    name, here = machine.name, said.get("machine", "")
    if said.get("system") != "Linux" or here != target["architecture"]:
        raise UserError(
            f"the bundle is for {target['name']} ({target['architecture']}, Linux), but {name} is "
            f"{here or 'unknown'}, {said.get('system') or 'unknown'}: compile it with another --target"
        )
    if flags := said.get("processor", ""):
        present = host.features_of(flags, here)
        if present is not None and (missing := host.missing_features(target["instructions"], present)):
            raise UserError(
                f"the bundle is for {target['name']}; the processor of {name} lacks {', '.join(missing)}: compile it "
                "with another --target"
            )
    *version, bits = [int(number) for number in said.get("python", "").split()] or [0]
    install = "sudo apt install python3 python3-venv"
    if not version:
        raise UserError(f"{name} has no python3: install it (Debian: {install})")
    python = ".".join(map(str, version))
    if tuple(version) < OLDEST:
        raise UserError(f"{name} has Python {python}, but eq_tvm needs {'.'.join(map(str, OLDEST))}: update its system")
    if bits != 64:
        raise UserError(
            f"{name} has a {bits}-bit Python, for which TVM has no packages: compile for a 32-bit target with "
            "--artifact standalone"
        )
    if not said.get("venv"):
        raise UserError(f"the Python of {name} has no venv: install it (Debian: {install})")
    return Board(here, python)
