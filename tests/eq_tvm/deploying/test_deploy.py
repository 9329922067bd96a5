"""Deploying to a board on loopback, by Debian's ssh: it works, or one line says why, and what was there stays."""

import json
import shutil

import pytest
from loopback import SESSION

from eq_tvm import cli
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.deploying import deploy as deploying
from eq_tvm.deploying import ssh
from eq_tvm.errors import UserError


def deploy(board, bundle, *options):
    """The command."""
    return cli.main(
        ["deploy", str(bundle), board.name, "--port", str(board.port), "--directory", str(board.home), *options]
    )


def tree(board):
    """All files there, with what is in them."""
    return {
        str(file.relative_to(board.home)): file.read_bytes() for file in sorted(board.home.rglob("*")) if file.is_file()
    }


@pytest.fixture
def refused(capsys):
    """Checks that a command fails with one line."""

    def check(code, *parts):
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert code == 2 and error.startswith("error: "), error
        for part in parts:
            assert part in error

    return check


def test_deploys_and_keeps_what_is_there(board, small_bundle, capsys, refused, monkeypatch):
    assert deploy(board, small_bundle, "--json", "--image", str(small_bundle.parent / "cat.png")) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["equal"] is True and done["bundle"] == "net-native.eqtvm" and done["directory"] == str(board.home)
    there = tree(board)
    assert {name for name in there if not name.startswith(".venv-")} == {
        f"net-native.eqtvm/{file.name}" for file in small_bundle.iterdir()
    }
    assert (board.home / ".venv" / "complete").is_file()
    assert bundles.read(board.home / "net-native.eqtvm").model == "net"

    with (board.home / "net-native.eqtvm" / "model.so").open("ab") as library:
        library.write(b"of an older bundle")
    there = tree(board)

    # Gone while it takes the copy in, and once it is there
    for program in ("tar", "mv"):
        board.program(program, f"kill -9 {SESSION}; sleep 1")
        doing = {"tar": "copying", "mv": "putting the bundle in its place"}[program]
        refused(deploy(board, small_bundle), f"it closed the connection while {doing}")
        (board.programs / program).unlink()
        left = {name: content for name, content in tree(board).items() if not name.startswith(".new-")}
        if program == "mv":  # the new one was placed, whole
            for file in small_bundle.iterdir():
                there[f"net-native.eqtvm/{file.name}"] = file.read_bytes()
        assert left == there

    # It computes something else
    arrays, _ = deploying._expected(bundles.read(small_bundle), None)
    other = {"inputs": deploying.sample.sha256(*arrays), "outputs": {"scores": {"sha256": "", "values": [9.0] * 10}}}
    monkeypatch.setattr(deploying, "_expected", lambda bundle, image: (arrays, other))
    refused(deploy(board, small_bundle), "computes something else than this machine: output 'scores' is ")
    assert {name: content for name, content in tree(board).items() if not name.startswith(".new-")} == there


def test_hangs(board, small_bundle, refused, monkeypatch):
    monkeypatch.setattr(ssh, "ALIVE", 1)
    monkeypatch.setattr(ssh, "MISSED", 2)
    pid = board.folder / "session"
    board.program("tar", f"echo {SESSION} > {pid}; kill -STOP {SESSION}; sleep 60")
    try:
        refused(deploy(board, small_bundle), "it stopped answering while copying")
    finally:
        board.kill(int(pid.read_text()))


def test_takes_too_long(board):
    with pytest.raises(UserError, match=r"127\.0\.0\.1: napping took more than 1 s; it was given up"):
        ssh.machine(board.name, board.port).run("exec sleep 9", doing="napping", seconds=1)


REFUSED = {
    "another architecture": ({"uname": 'case "$1" in -m) echo riscv64;; *) echo Linux;; esac'}, "is riscv64, Linux"),
    "another system": ({"uname": 'case "$1" in -m) echo x86_64;; *) echo Darwin;; esac'}, "x86_64, Darwin"),
    "an older processor": ({"grep": "echo 'flags : sse2'; echo 'Features : fp'"}, "lacks "),
    "no python3": ({"python3": "exit 127"}, "has no python3: install it"),
    "an old Python": ({"python3": "echo 3 8 1 64"}, "has Python 3.8.1, but eq_tvm needs 3.10"),
    "a 32-bit Python": ({"python3": "echo 3 11 1 32"}, "has a 32-bit Python"),
    "no venv": ({"python3": 'case "$2" in *struct*) echo 3 11 1 64;; *) exit 1;; esac'}, "has no venv: install it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_before_anything_is_copied(board, small_bundle, refused, kind):
    programs, said = REFUSED[kind]
    for name, script in programs.items():
        board.program(name, script)
    refused(deploy(board, small_bundle), said)
    assert not board.home.exists()


FAILS = {
    "disk full": ({"tar": "echo 'tar: x: Cannot write: No space left on device' >&2; exit 2"}, "its disk is full"),
    "no wheel": (
        {"venv-python": "echo 'ERROR: No matching distribution found for apache-tvm==0.27' >&2; exit 1"},
        "pip finds no apache-tvm==0.27 for its Python and processor, or has no network",
    ),
    "no pip": ({"venv-python": "echo '/x/python: No module named pip' >&2; exit 1"}, "no pip: install them"),
    "out of memory": ({"venv-python": "kill -9 $$"}, "installing failed: "),
}


@pytest.mark.parametrize("kind", FAILS)
def test_what_fails_leaves_nothing(board, small_bundle, refused, kind):
    programs, said = FAILS[kind]
    for name, script in programs.items():
        board.program(name, script)
    refused(deploy(board, small_bundle), said)
    assert not tree(board)


def test_what_is_no_bundle_is_not_replaced(board, small_bundle, refused):
    (board.home / "net-native.eqtvm").mkdir(parents=True)
    (board.home / "net-native.eqtvm" / "cat.jpg").touch()
    refused(deploy(board, small_bundle), "a directory with cat.jpg, which is not of a bundle", "another --directory")
    assert "net-native.eqtvm/cat.jpg" in tree(board)
    shutil.rmtree(board.home)
    board.home.mkdir()
    (board.home / "net-native.eqtvm").touch()
    refused(deploy(board, small_bundle), "net-native.eqtvm is a file there: remove it, or choose another --directory")
    assert list(tree(board)) == ["net-native.eqtvm"]  # nothing was installed before
    shutil.rmtree(board.home)
    (board.home / ".venv").mkdir(parents=True)
    refused(deploy(board, small_bundle), "there is another .venv in it: choose another --directory")


def test_who_is_not_let_in(board, small_bundle, refused):
    login = f"-p {board.port} {board.name}"
    board.configure(IdentityFile=f"{board.folder}/other")
    refused(deploy(board, small_bundle), "it wants a password, or does not know your key", f"`ssh-copy-id {login}`")
    board.configure(UserKnownHostsFile="none")
    refused(deploy(board, small_bundle), f"its key is not known here: run `ssh {login}` once")
    kind, key = (board.folder / "other.pub").read_text().split()[:2]
    (board.folder / "others").write_text(f"board {kind} {key}\n")
    board.configure(UserKnownHostsFile=f"{board.folder}/others")
    refused(deploy(board, small_bundle), "it has another key than before")


def test_nobody_there(board, small_bundle, refused):
    options = ["--directory", str(board.home)]
    refused(cli.main(["deploy", str(small_bundle), board.name, "--port", "1", *options]), "nothing listens there")
    refused(cli.main(["deploy", str(small_bundle), "pi@board.invalid", *options]), "no host of that name")


NO_NAMES = (
    """-oProxyCommand=x pi@-oProxyCommand=x -l@host pi@ @host a@b@c pi@host;x $(x) pi@host- host/x ssh://host [::1]"""
)


@pytest.mark.parametrize("name", ["", "pi@a b", "h\n", *NO_NAMES.split()])
def test_names_that_are_none(name):
    with pytest.raises(UserError, match="names no machine: pass user@host"):
        ssh.machine(name)


def test_names_of_machines():
    for name in ("pi@raspberrypi.local", "board", "my_board-2", "a.b@10.0.0.1", "pi@fe80::1%eth0", "::1"):
        assert ssh.machine(name, 22).name == name
    with pytest.raises(UserError, match="--port must be from 1 to 65535, not 65536"):
        ssh.machine("pi@host", 65536)


@pytest.mark.parametrize("directory", ["", "-x", "~/x", "a\nb"])
def test_directories_that_are_none(directory, small_bundle):
    with pytest.raises(UserError, match="--directory"):
        deploying.deploy(small_bundle, "pi@host", directory=directory)


def test_a_directory_is_no_command(board, small_bundle, refused):
    board.program("uname", 'case "$1" in -m) uname=$(/usr/bin/uname -m); echo $uname;; *) echo Linux;; esac')
    board.program("tar", "exit 3")
    board.home = board.folder / "a 'b' $(touch hacked); x"
    refused(deploy(board, small_bundle), "copying failed: exit code 1")
    assert board.home.is_dir() and not list(board.folder.rglob("hacked"))
    shutil.rmtree(board.home)
    board.home = board.folder / "home"
