"""Sockets to TVM's RPC servers and trackers, which answer in time or not at all."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from eq_tvm.errors import UserError, counted

SECONDS = 10.0  # to answer while connecting
LONGEST = 1 << 20  # bytes of a message while connecting
DOCUMENT = "docs/raspberry-pi.md"


@dataclass(frozen=True)
class Address:
    """A host and port, and the option that gave them."""

    option: str
    host: str
    port: int

    @classmethod
    def parse(cls, option: str, text: str) -> Address:
        """From ``raspberrypi.local:9090``, ``192.168.0.7:9090`` or ``[fe80::1]:9090``."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UserError(f"{option} must look like raspberrypi.local:9090, not {text}")
        return cls(option, host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if ":" not in self.host else f"[{self.host}]:{self.port}"


def connect_server(address: Address, key: str = "") -> socket.socket:
    """A socket to an RPC server that has accepted this client and waits for its first call.

    Parameters
    ----------
    address : Address
    key : str
        That of the server, or the one that the tracker gave for this connection.

    Raises
    ------
    UserError
        Nothing there, or something else, or another key.
    """
    from tvm.rpc import base

    command = f"python -m tvm.exec.rpc_server --port {address.port}"
    connection = _connect(address, f"start the server there: {command}")
    receive = _Receiver(connection)
    try:
        name = f"client:{key}".encode()
        connection.sendall(struct.pack("<ii", base.RPC_MAGIC, len(name)) + name)
        code = receive.number()
        if code == base.RPC_CODE_MISMATCH:
            raise UserError(
                f"{address.option} {address}: the server wants another key: pass the --key it was started with, "
                "or, if it was started with --tracker, the same --tracker and --key"
            )
        if code != base.RPC_CODE_SUCCESS:
            raise ValueError
        receive.message()
        connection.settimeout(None)
        _notice_loss(connection)
        return connection
    except ValueError as e:
        raise UserError(f"{address.option} {address} is something else than TVM's RPC server") from e
    except TimeoutError as e:
        message = "accepts connections, but does not answer: perhaps it serves someone else; otherwise restart it there"
        raise UserError(f"{address.option} {address} {message}: {command}") from e
    except OSError as e:
        raise UserError(
            f"{address.option} {address} closes the connection: is this TVM's RPC server, and not a tracker "
            "(which takes --tracker and --key)?"
        ) from e
    except BaseException:
        connection.close()
        raise


def request_server(tracker: Address, key: str) -> tuple[Address, str]:
    """The address of a free board and the key for one connection to it, from an RPC tracker.

    Raises
    ------
    UserError
        No tracker there, no board of that key, or none that becomes free in time.
    """
    from tvm.rpc import base
    from tvm.rpc.base import TrackerCode

    with _asking(tracker) as link:
        boards, _ = _boards(link, tracker, key)
        base.sendjson(link, [TrackerCode.REQUEST, key, "", 1])
        try:
            host, port, match = json.loads(_Receiver(link).message())[1]
        except TimeoutError as e:
            raise UserError(
                f"{tracker.option} {tracker}: no board of {boards} with the key {key} became free within "
                f"{SECONDS:.0f} s: try again later, or restart the board's server"
            ) from e
        return Address(f"--key {key}:", str(host), int(port)), str(match)


def free_boards(tracker: Address, key: str) -> int:
    """How many boards of that key are free now.

    Raises
    ------
    UserError
        No tracker there, no board of that key, or all are at work.
    """
    with _asking(tracker) as link:
        boards, free = _boards(link, tracker, key)
    if not free:
        there = counted(boards, "board")
        raise UserError(f"{tracker.option} {tracker}: {there} with the key {key}, none of them free: try later")
    return free


@contextmanager
def _asking(tracker: Address) -> Iterator[socket.socket]:
    """A connection to a tracker. UserErrors instead of what happens with one that is none."""
    from tvm.rpc import base

    option = f"{tracker.option} {tracker}"
    with _connect(tracker, f"start the tracker there: python -m tvm.exec.rpc_tracker --port {tracker.port}") as link:
        try:
            link.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            if _Receiver(link).number() != base.RPC_TRACKER_MAGIC:
                raise UserError(f"{option} is something else than TVM's RPC tracker")
            yield link
        except TimeoutError as e:
            raise UserError(f"{option} accepts connections, but does not answer: restart the tracker") from e
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
            raise UserError(f"{option} closes the connection: is this TVM's RPC tracker, and not a board?") from e


def _boards(link: socket.socket, tracker: Address, key: str) -> tuple[int, int]:
    """How many boards of that key there are, and how many of them are free; UserError where there are none."""
    from tvm.rpc import base
    from tvm.rpc.base import TrackerCode

    base.sendjson(link, [TrackerCode.SUMMARY])
    _, summary = json.loads(_Receiver(link).message())
    keys = [str(server["key"]).removeprefix("server:") for server in summary["server_info"]]
    if key not in keys:
        there = ", ".join(sorted(set(keys))) or "none: no board is registered"
        raise UserError(
            f"{tracker.option} {tracker} has no board with the key {key}; there are: {there}. Start on the board: "
            f"python -m tvm.exec.rpc_server --tracker {tracker} --key {key}"
        )
    return keys.count(key), int(summary["queue_info"].get(key, {}).get("free", 0))


class _Receiver:
    """Receives from a socket what comes within `SECONDS` of now: TimeoutError where it does not, however much comes."""

    def __init__(self, link: socket.socket):
        self._link, self._end = link, time.monotonic() + SECONDS

    def number(self) -> int:
        """32 bits."""
        return int(struct.unpack("<i", self._bytes(4))[0])

    def message(self) -> bytes:
        """A length, and as many bytes; ValueError where no message is so long."""
        length = self.number()
        if not 0 <= length <= LONGEST:
            raise ValueError(f"a message of {length} bytes")
        return self._bytes(length)

    def _bytes(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._link.settimeout(left)
            block = self._link.recv(count - len(content))
            if not block:
                raise ConnectionResetError("closed")
            content += block
        return content


def _connect(address: Address, remedy: str) -> socket.socket:
    what = f"{address.option} {address}"
    try:
        return socket.create_connection((address.host, address.port), SECONDS)
    except socket.gaierror as e:
        raise UserError(f"{what}: no host of that name is known here; try the board's IP address (hostname -I)") from e
    except ConnectionRefusedError as e:
        raise UserError(f"{what}: nothing listens there; {remedy}") from e
    except TimeoutError as e:
        message = f"no answer within {SECONDS:.0f} s: is it switched on, in this network, and without a firewall?"
        raise UserError(f"{what}: {message}") from e
    except OSError as e:
        raise UserError(f"{what} can't be reached: {e.strerror}") from e


def _notice_loss(connection: socket.socket) -> None:
    """Let the system find out within some 20 s that the board has lost its power or network, and send small calls."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
