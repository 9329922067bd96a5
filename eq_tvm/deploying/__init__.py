"""Bringing a bundle to a board: an archive with all that it needs there, and the way there by ssh.

Here lives what leaves this machine as files. Running bundles on boards over RPC is in `eq_tvm.boards`.
"""
