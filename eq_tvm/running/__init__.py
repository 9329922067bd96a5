"""Running networks on this machine.

Here lives what executes: compiled networks, what times their layers, float networks to compare with, and the protocol
of a board that runs a network instead. Nothing here measures accuracy: see `eq_tvm.evaluate` and `eq_tvm.scores`.
"""
