"""Commands on another machine, by the system's ssh: never a question, never a wait without end, one line of error."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass

from eq_tvm.errors import UserError

CONNECT = 10  # seconds, for a connection
ALIVE, MISSED = 5, 3  # seconds between signs of life, and how many of them may be missing
_USER = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([\w.-]*\w)?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%\w+)?", re.ASCII)


@dataclass(frozen=True)
class Machine:
    """Where to log in: a name of ssh's configuration, or a host, with a user and a port unless that says them."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def name(self) -> str:
        """As ssh takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def run(self, script: str, *, doing: str, seconds: float, given: bytes = b"") -> bytes:
        """Run a shell script there, and return what it prints.

        Parameters
        ----------
        script : str
            For ``sh``.
        doing : str
            What it does, for messages: ``installing``.
        seconds : float
            How long it may take.
        given : bytes
            Its standard input.

        Raises
        ------
        UserError
            No connection, or it is lost; the script fails, or takes too long.
        """
        if not (ssh := shutil.which("ssh")):
            raise UserError("there is no ssh here: install it (Debian package openssh-client)")
        options = ["BatchMode=yes", f"ConnectTimeout={CONNECT}", f"ServerAliveInterval={ALIVE}"]
        options += [f"ServerAliveCountMax={MISSED}", "ForwardAgent=no", "ForwardX11=no"]
        command = [ssh, "-T", *(word for option in options for word in ("-o", option))]
        command += ["-p", str(self.port)] if self.port else []
        try:
            done = subprocess.run(
                [*command, "--", self.name, f"exec sh -c {shlex.quote(f'export LC_ALL=C; {script}')}"],
                input=given,
                capture_output=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as e:
            raise UserError(f"{self.name}: {doing} took more than {seconds:.0f} s; it was given up") from e
        said = done.stderr.decode(errors="replace")
        if done.returncode == _LOST:
            raise UserError(f"{self.name}: {self._lost(said, doing)}")
        if done.returncode:
            raise UserError(f"{self.name}: {doing} failed: {_failed(said, done.returncode)}")
        return done.stdout

    def _lost(self, said: str, doing: str) -> str:
        fields = {"host": self.host, "name": self.name, "doing": doing}
        fields["login"] = " ".join(["-p", str(self.port), self.name] if self.port else [self.name])
        fields["known"] = f"'[{self.host}]:{self.port}'" if self.port else self.host
        for pattern, means in _LINK.items():
            if re.search(pattern, said):
                return means.format(**fields)
        return f"the connection was lost while {doing}: {_last(said) or 'ssh does not say why'}"


def machine(text: str, port: int | None = None) -> Machine:
    """The machine that ``user@host`` names.

    Raises
    ------
    UserError
        There are characters in it that names don't have, or it could be taken for an option of ssh.
    """
    user, at, host = text.rpartition("@")
    if (at and not _USER.fullmatch(user)) or not _HOST.fullmatch(host):
        raise UserError(f"{text!r} names no machine: pass user@host, such as pi@raspberrypi.local")
    if port is not None and not 0 < port < 1 << 16:
        raise UserError(f"--port must be from 1 to 65535, not {port}")
    return Machine(host, user or None, port)


_LOST = 255
_LINK = {  # what ssh says, and what that means
    "Could not resolve hostname": "no host of that name: take the board's address, which `hostname -I` prints there",
    "Connection refused": "nothing listens there: start its ssh server (Raspberry Pi: raspi-config), or give --port",
    "not responding": "it stopped answering while {doing}: its power or network is gone, or it hangs",
    "timed out|No route to host|Network is unreachable": "no answer: it is off or elsewhere, or a firewall is between",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": (
        "it has another key than before: if it was set up anew, `ssh-keygen -R {known}`, and `ssh {login}` once; else "
        "it is another machine"
    ),
    "Host key verification failed": "its key is not known here: run `ssh {login}` once, and accept it",
    "Permission denied|Too many authentication failures": (
        "it wants a password, or does not know your key: run `ssh-copy-id {login}` once (before that, `ssh-keygen` if "
        "you have no key)"
    ),
    "closed by|Connection reset|Broken pipe": "it closed the connection while {doing}",
}
_REMOTE = {  # the same of the tools there
    r"No space left on device|Disk quota exceeded": "its disk is full",
    r"No matching distribution found for (\S+)": "pip finds no {0} for its Python and processor, or has no network",
    r"ensurepip is not|No module named '?(?:venv|ensurepip|pip)\b": (
        "its Python has no venv or no pip: install them (Debian: sudo apt install python3-venv)"
    ),
    r"(?:can't|cannot) create.*?: (.*)": "can't write there: {0}",
}


def _failed(said: str, code: int) -> str:
    for pattern, means in _REMOTE.items():
        if found := re.search(pattern, said):
            return means.format(*found.groups())
    if code > 128:
        return f"it was ended by signal {code - 128}" + " (out of memory?)" * (code == 137)
    return _last(said) or f"exit code {code}"


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
