"""A process between TVM's RPC client, which waits for ever, and a board: it ends when the board is silent or gone.

Runs as a program, with nothing but the standard library: `relay.py SOCKET REASON SECONDS FROM TO`, all but SECONDS file
descriptors. TVM starts it and talks to it through the pipes FROM and TO; SOCKET is connected to the board. Why it
ended is written to REASON, so that what fails next can say so: `silent`, `endless`, or `closed` and what the system
says.

It is a process, not a thread: TVM's objects call the board where Python frees them, which stops all threads.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import suppress
from itertools import pairwise

BLOCK = 1 << 18
PACE = 1e6  # bytes per second: a slow board needs that long to take in what it was sent
LONGEST = 1 << 28  # bytes of an answer


def main() -> None:
    """Pass bytes in both directions until one side ends, or an answer takes too long."""
    if os.fork():
        os._exit(0)  # TVM kills what it started when the program ends, which would reset the connection: see `_leave`
    connection, reason, seconds, source, sink = sys.argv[1:]
    _close_all_but({0, 1, 2, *map(int, (connection, reason, source, sink))})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that uses the board
    board = socket.socket(fileno=int(connection))
    board.settimeout(float(seconds))
    try:
        why = _pass_on(board, int(source), int(sink), float(seconds))
    except TimeoutError as e:
        why = f"closed {e.strerror}" if e.errno else "silent"  # with a number: the system gave the connection up
    except OSError as e:
        why = f"closed {e.strerror}"
    if not why:
        _leave(board)
    with suppress(BrokenPipeError):  # of a session that has been closed: nobody asks any more
        os.write(int(reason), why.encode())


def _close_all_but(kept: set[int]) -> None:
    """Pipes of sessions that start beside this one come along with TVM's fork: nobody would see that they end."""
    for before, after in pairwise([*sorted(kept), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(before + 1, after)


def _leave(board: socket.socket) -> None:
    """Take in what the board still sends: unread, it would reset the connection, and TVM's server ends on that."""
    with suppress(OSError):
        board.shutdown(socket.SHUT_WR)
        while board.recv(BLOCK):
            pass


def _pass_on(board: socket.socket, source: int, sink: int, seconds: float) -> str:
    sent = 0  # since the last answer
    received = 0  # since the last call
    while True:
        waiting: list[int | socket.socket] = [source, board]
        ready, _, _ = select.select(waiting, [], [], seconds + sent / PACE if sent else None)
        if not ready:
            return "silent"
        if board in ready:
            block = board.recv(BLOCK)
            if not block:
                return "closed"
            sent, received = 0, received + len(block)
            if received > LONGEST:
                return "endless"
            try:
                while block:
                    block = block[os.write(sink, block) :]
            except BrokenPipeError:
                return ""
        if source in ready:
            block = os.read(source, BLOCK)
            if not block:
                return ""
            sent, received = sent + len(block), 0
            board.sendall(block)


if __name__ == "__main__":
    main()
