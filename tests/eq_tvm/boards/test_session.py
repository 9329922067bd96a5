"""Bundles on another machine, through TVM's RPC: here another process. Under qemu: test_on_aarch64.py."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rpc_servers import Listener, Server, free_port, welcome
from tiny import SHAPE, write_tiny
from tvm.rpc import base

import eq_tvm
from eq_tvm import host
from eq_tvm.bench import bench, bench_layers
from eq_tvm.boards import connection, session
from eq_tvm.cli import main
from eq_tvm.errors import UserError
from eq_tvm.evaluate import evaluate

X = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)
FOREIGN = "x86" if host.platform.machine() == "aarch64" else "rpi4"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server("rpc_server", tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@pytest.fixture
def board(server):
    with eq_tvm.connect(server.address) as board:
        yield board


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "SECONDS", 0.5)


def test_run(tiny, board):
    local, remote = eq_tvm.load(tiny), eq_tvm.load(tiny, board=board)
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    for given in (X, pixels):
        expected, outputs = local.run(given), remote.run(given)
        assert list(outputs) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(outputs[name], array, strict=True)
    with pytest.raises(UserError, match="the network's inputs are x, not z"):
        remote.run({"z": X})


def test_bench(tiny, board):
    result = bench(tiny.path, seconds=0.01, board=board)
    assert list(result) == ["median_ms", "min_ms", "threads", "runs"]
    assert 0 < result["min_ms"] <= result["median_ms"] and result["threads"] == 1 and result["runs"] >= 3
    with pytest.raises(UserError, match=r"has 1 thread, not 5: .* start its server with TVM_NUM_THREADS=5"):
        bench(tiny.path, threads=5, board=board)
    with pytest.raises(UserError, match="must be positive"):
        bench(tiny.path, seconds=0, board=board)


def test_bench_layers(tiny, board):
    there, here = bench_layers(tiny.path, seconds=0.01, board=board), bench_layers(tiny.path, seconds=0.01)
    assert [row["function"] for row in there] == [row["function"] for row in here]
    with pytest.raises(UserError, match="--seconds up to 30, not 31"):
        bench_layers(tiny.path, seconds=31, board=board)


def test_evaluate(tiny, board, tmp_path, tiny_onnx):
    images = np.random.default_rng(1).integers(0, 256, (4, 6, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(4) % 3)
    here, there = (evaluate(tiny.path, tmp_path / "images.npz", reference=tiny_onnx, board=b) for b in (None, board))
    assert here == there and there["n"] == 4 and there["top1"] is not None
    with pytest.raises(UserError, match="a board runs bundles only"):
        evaluate(tiny_onnx, tmp_path / "images.npz", board=board)


def test_commands(tiny, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", x=X)
    assert main(["run", "tiny.eqtvm", "--input", "x.npz", "--output", "y.npz", "--rpc", server.address]) == 0
    np.testing.assert_array_equal(np.load("y.npz")["y"], np.maximum(-X, 0))
    capsys.readouterr()
    assert main(["bench", "tiny.eqtvm", "--seconds", "0.01", "--json", "--rpc", server.address]) == 0
    assert json.loads(capsys.readouterr().out)["threads"] == 1
    assert main(["bench", "tiny.eqtvm", "--seconds", "0.01", "--layers", "--rpc", server.address]) == 0
    assert "us  share" in capsys.readouterr().out
    np.savez("images.npz", images=np.zeros((1, 6, 4, 3), np.uint8))
    assert main(["evaluate", "tiny.eqtvm", "--data", "images.npz", "--rpc", server.address]) == 0
    assert main(["bench", "tiny.eqtvm", "--rpc", "board"]) == 2
    assert "--rpc must look like raspberrypi.local:9090, not board" in capsys.readouterr().err


def test_a_bundle_for_another_machine(tmp_path, tiny_executable, board):
    foreign = write_tiny(tmp_path / "foreign.eqtvm", tiny_executable, FOREIGN)
    with pytest.raises(UserError, match=rf"is for {FOREIGN} .*, the board .* is .*: compile it for that board"):
        board.load(foreign.path)
    board._description["features"] = []
    if host.platform.machine() == "x86_64":
        with pytest.raises(UserError, match=r"the processor of the board .* lacks .*avx.*: compile it for that board"):
            board.load(write_tiny(tmp_path / "tiny.eqtvm", tiny_executable))


def test_a_board_without_eq_tvm(tiny, tiny_executable, tmp_path):
    with (
        Server("rpc_server", tmp_path / "log", environment={"TVM_DEVICE_BACKEND_AUTOLOAD": "0"}) as server,
        eq_tvm.connect(server.address, seconds=5) as board,
    ):
        model = eq_tvm.load(tiny, board=board)
        np.testing.assert_array_equal(model.run(X)["y"], np.maximum(-X, 0))
        with pytest.raises(UserError, match=r"--layers: the board .* has no eq_tvm .*install it there"):
            bench_layers(tiny.path, board=board)
        with pytest.raises(UserError, match=r"no eq_tvm to ask Linux for AMX, which the bundle .*amx.eqtvm needs"):
            board.load(write_tiny(tmp_path / "amx.eqtvm", tiny_executable, "x86-amx"))

        def export_library(path):
            Path(path).write_bytes(b"no shared object")

        broken = write_tiny(tmp_path / "broken.eqtvm", SimpleNamespace(export_library=export_library))
        with pytest.raises(UserError, match=r"the board .* fails: .*file too short.*while loading .*apache-tvm==0"):
            board.load(broken)
        # And when it hangs:
        threading.Timer(0.5, server.signal, [signal.SIGSTOP]).start()
        with pytest.raises(UserError, match=r"did not answer in time.*while timing the network"):
            model.measure([X], 100)


def test_a_board_with_another_version(tmp_path):
    metadata = tmp_path / "older" / "apache_tvm-0.26.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: apache-tvm\nVersion: 0.26.0\n")
    with (
        Server("rpc_server", tmp_path / "log", environment={"PYTHONPATH": str(tmp_path / "older")}) as server,
        pytest.raises(UserError, match=r"has apache-tvm 0.26.0, this machine .* pip install apache-tvm==0.27"),
    ):
        eq_tvm.connect(server.address)


@pytest.mark.parametrize("option", ["--rpc", "--tracker"])
def test_nobody_there(option, impatient):
    options = {option[2:]: f"127.0.0.1:{free_port()}", "key": "rpi4"}
    with pytest.raises(UserError, match=f"{option} 127.0.0.1:.*: nothing listens there; start the"):
        eq_tvm.connect(**options)
    with pytest.raises(UserError, match="no host of that name"):
        eq_tvm.connect(**options | {option[2:]: "board.invalid:9090"})
    with Listener() as silent, pytest.raises(UserError, match="accepts connections, but does not answer"):
        eq_tvm.connect(**options | {option[2:]: silent.address})
    with Listener(lambda c: c.sendall(b"SSH-2.0-OpenSSH\n")) as other, pytest.raises(UserError, match="something else"):
        eq_tvm.connect(**options | {option[2:]: other.address})
    with Listener(lambda c: c.close()) as closing, pytest.raises(UserError, match="closes the connection"):
        eq_tvm.connect(**options | {option[2:]: closing.address})


def sends(*parts, again=b""):
    """What sends something, whatever it is asked, and then the same again and again."""

    def answer(connection):
        def keep_sending():
            with suppress(OSError):
                for part in parts:
                    connection.sendall(part)
                while again:
                    connection.sendall(again)
                    time.sleep(0.01 * (len(again) < 100))

        threading.Thread(target=keep_sending, daemon=True).start()

    return answer


def json_message(text):
    return struct.pack("<ii", base.RPC_TRACKER_MAGIC, len(text)) + text


ACCEPTS, TRACKS = struct.pack("<i", base.RPC_CODE_SUCCESS), struct.pack("<i", base.RPC_TRACKER_MAGIC)
NOISE = np.random.default_rng(0).bytes(1 << 16)


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("rpc", sends(again=NOISE)),
        ("rpc", sends(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        ("rpc", sends(ACCEPTS, struct.pack("<i", 2**31 - 1), again=NOISE)),
        ("rpc", sends(ACCEPTS, struct.pack("<i", -5))),
        ("rpc", sends(ACCEPTS, struct.pack("<i", 10**6), again=b"x")),
        ("tracker", sends(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        ("tracker", sends(TRACKS, again=NOISE)),
        ("tracker", sends(TRACKS, struct.pack("<i", 10**6), again=b"x")),
        *(("tracker", sends(json_message(text))) for text in (b"[]", b'[0, {"server_info": 5}]', b"\xff", b"nul")),
    ],
)
def test_something_else(option, answer, impatient):
    """Whatever it sends, and however long."""
    with (
        Listener(answer) as other,
        pytest.raises(UserError, match=rf"--{option} 127.0.0.1:.* (something|answer|closes)"),
    ):
        eq_tvm.connect(**{option: other.address}, key="rpi4")


def test_a_board_that_sends_without_end(monkeypatch, tmp_path):
    shorter = tmp_path / "relay.py"
    shorter.write_text(session.RELAY.read_text().replace("LONGEST = 1 << 28", "LONGEST = 1 << 20"))
    monkeypatch.setattr(session, "RELAY", shorter)

    def answer(connection):
        welcome(connection)
        sends(again=bytes(1 << 16))(connection)

    with Listener(answer) as endless, pytest.raises(UserError, match="sends without end"):
        eq_tvm.connect(endless.address, seconds=5)


def test_the_relay_holds_no_other_sessions_pipes():
    """What it inherits, as TVM forks; else who reads from one does not see that its own relay has ended."""
    board, ours = socket.socketpair()
    (reads, pipe), (why, reason), (source, calls), (answers, sink) = (os.pipe() for _ in range(4))
    handed = (board.fileno(), reason, source, sink)
    numbers = [str(each) for each in handed]
    command = [sys.executable, "-I", "-S", session.RELAY, *numbers[:2], "5", *numbers[2:]]
    subprocess.run(command, pass_fds=(*handed, pipe), check=True, timeout=60)
    os.close(pipe)
    os.write(calls, b"x")
    assert ours.recv(1) == b"x"  # it has begun
    assert select.select([reads], [], [], 0)[0] and os.read(reads, 1) == b""
    ours.close()
    for each in (why, reads, calls, answers, *handed[1:]):
        os.close(each)
    board.close()


def test_a_board_that_falls_silent():
    with Listener(welcome) as silent, pytest.raises(UserError, match="did not answer in time: restart its RPC server"):
        eq_tvm.connect(silent.address, seconds=0.5)


def test_a_client_and_a_board_that_stop_in_the_middle(tiny, tmp_path):
    with Server("rpc_server", tmp_path / "log") as server:
        command = [sys.executable, "-m", "eq_tvm", "bench", tiny.path, "--seconds", "100", "--rpc", server.address]
        process = subprocess.Popen(command, env=os.environ | {"TVM_USE_RUNTIME_LIB": "1"}, stderr=subprocess.PIPE)
        while "load_module" not in (tmp_path / "log").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        for _ in range(3):  # TVM swallows one that comes while it frees an object on the board
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
                break
        assert process.returncode == 130 and process.stderr.read() == b""

        with eq_tvm.connect(server.address) as board:  # which is still there
            model = eq_tvm.load(tiny, board=board)
            model.run(X)
            threading.Timer(0.5, server.signal, [signal.SIGKILL]).start()
            with pytest.raises(UserError, match=r"closed the connection.*while timing the network"):
                model.measure([X], 100)
            with pytest.raises(UserError, match=r"closed the connection.*while running the network"):
                model.run(X)


@pytest.mark.parametrize(
    ("fate", "said"), [("SIGKILL", "closed the connection"), ("SIGSTOP", "did not answer in time")]
)
def test_evaluation_on_a_board_that_is_gone_in_the_middle(fate, said, tiny, tmp_path):
    """One line, after a limited time, with what was measured before."""
    images = np.random.default_rng(1).integers(0, 256, (200, 6, 4, 3), dtype=np.uint8)
    labels = np.maximum(100.0 - images, 0).mean((1, 2)).argmax(1)
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    with (
        Server("rpc_server", tmp_path / "log") as server,
        eq_tvm.connect(server.address, seconds=2) as board,
        pytest.raises(
            UserError, match=rf"{said}.* \(while running the network\); before that, 120 images: top-1 100.00%$"
        ),
    ):
        evaluate(
            tiny.path,
            tmp_path / "images.npz",
            board=board,
            progress=lambda done, _: server.signal(getattr(signal, fate)) if done == 0.6 else None,
        )


def test_a_board_that_answers_late(tiny, tmp_path):
    """Within the limit, results are as ever."""
    with Server("rpc_server", tmp_path / "log") as server, eq_tvm.connect(server.address, seconds=30) as board:
        model = eq_tvm.load(tiny, board=board)
        server.signal(signal.SIGSTOP)
        threading.Timer(1.5, server.signal, [signal.SIGCONT]).start()
        np.testing.assert_array_equal(model.run(X)["y"], np.maximum(-X, 0))


def test_tracker(tiny, tmp_path, monkeypatch):
    with Server("rpc_tracker", tmp_path / "tracker") as tracker:
        with pytest.raises(UserError, match=r"no board with the key rpi4; there are: none: no board is registered"):
            eq_tvm.connect(tracker=tracker.address, key="rpi4")
        options = ("--tracker", tracker.address, "--key", "pc")
        with Server("rpc_server", tmp_path / "log", *options) as server:
            tracker.wait_for_board()
            with pytest.raises(UserError, match=r"no board with the key rpi4; there are: pc\. Start on the board: .*"):
                eq_tvm.connect(tracker=tracker.address, key="rpi4")
            with eq_tvm.connect(tracker=tracker.address, key="pc") as board:
                np.testing.assert_array_equal(eq_tvm.load(tiny, board=board).run(X)["y"], np.maximum(-X, 0))
                monkeypatch.setattr(connection, "SECONDS", 1.0)
                with pytest.raises(UserError, match=r"no board of 1 with the key pc became free within"):
                    eq_tvm.connect(tracker=tracker.address, key="pc")
                monkeypatch.undo()
            with pytest.raises(UserError, match=r"wants another key: .* the same --tracker and --key"):
                eq_tvm.connect(server.address)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rpc": "a:1", "tracker": "b:2"}, "exclude each other"),
        ({"key": "rpi4"}, "--key goes with --tracker HOST:PORT"),
        ({"tracker": "a:1"}, "--tracker needs --key"),
        ({"rpc": "9090"}, "--rpc must look like raspberrypi.local:9090, not 9090"),
        ({"tracker": "a:99999", "key": "rpi4"}, "--tracker must look like raspberrypi.local:9090, not a:99999"),
    ],
)
def test_options(options, message):
    with pytest.raises(UserError, match=message):
        eq_tvm.connect(**options)
