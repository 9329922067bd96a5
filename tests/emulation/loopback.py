"""A board on this machine: Debian's sshd on a free port, with keys, configuration and programs of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rpc_servers import NO_TORCH

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# Makes environments that are this Python, as installing TVM anew for each test would take minutes.
PYTHON = """case "$1 $2" in "-m venv") mkdir -p "$3/bin" && cp {programs}/venv-python "$3/bin/python"; exit;; esac
exec env PYTHONPATH={no_torch} {python} "$@" """
VENV_PYTHON = """case "$1 $2" in "-m pip") exit 0;; esac
exec env PYTHONPATH={no_torch} {python} "$@" """
# What the shell's parent is: the process of sshd that serves this connection.
SESSION = "$(cut -d' ' -f4 /proc/$PPID/stat)"


@dataclass
class Board:
    """`name` is what deploy is told; `home` the directory to deploy to; `programs` what is found first there."""

    name: str
    port: int
    folder: Path
    home: Path
    programs: Path
    client: Path
    process: subprocess.Popen

    def program(self, name: str, script: str) -> None:
        """Let the board have this in place of a program."""
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def reset(self) -> None:
        """Forget the programs, and what was deployed."""
        for file in self.programs.iterdir():
            file.unlink()
        shutil.rmtree(self.home, ignore_errors=True)
        for name, script in (("python3", PYTHON), ("venv-python", VENV_PYTHON)):
            self.program(name, script.format(programs=self.programs, no_torch=NO_TORCH, python=sys.executable))

    def kill(self, pid: int) -> None:
        """A process of this sshd, which may be stopped."""
        os.kill(pid, signal.SIGKILL)

    def configure(self, **options: str) -> None:
        """What ssh is told about it."""
        usual = {
            "HostName": "127.0.0.1",
            "HostKeyAlias": "board",
            "IdentityFile": f"{self.folder}/user",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f"{self.folder}/known",
            "GlobalKnownHostsFile": "none",
        }
        lines = [f"{key} {value}\n" for key, value in (usual | options).items()]
        (self.folder / "config").write_text("Host 127.0.0.1\n" + "".join(lines))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def start(folder: Path) -> Board:
    """A board in an empty folder; skips the test where sshd is missing, or can't run."""
    if not SSHD or not shutil.which("ssh-keygen"):
        pytest.skip("sshd is not here (Debian packages openssh-server, openssh-client)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which sshd asks for, and the system's service makes
    for name in ("host", "user", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    programs, client = folder / "programs", folder / "client"
    programs.mkdir()
    client.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n"
        f"PermitRootLogin yes\nSetEnv PATH={programs}:/usr/bin:/bin HOME={folder}\n"  # else a shell's own files count
    )
    public = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"board {public[0]} {public[1]}\n")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE, text=True)
    ssh = shutil.which("ssh")
    (client / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {folder}/config "$@"\n')
    (client / "ssh").chmod(0o755)
    board = Board(f"{getpass.getuser()}@127.0.0.1", port, folder, folder / "home", programs, client, process)
    for _ in range(100):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return board
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {process.stderr.read().strip()}")
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
