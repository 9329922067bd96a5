"""Boards that run bundles for a PC, through TVM's RPC server.

Here live both ends: the PC's (`session`, with `connection` and the process `relay` between it and the board), and what
the board's server knows of eq_tvm (`on_board`). They meet in `agreed` only. The rest of eq_tvm sees a board as the
protocol `eq_tvm.running.runtime.Board`.
"""
