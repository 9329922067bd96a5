"""What an ARM processor would take: instructions counted under qemu, and cycles estimated from them.

The processors, the plugin that counts, what runs in the emulated Python, the estimate by LLVM's models, and the tables
of it. Scripts that a person runs are one folder up.
"""
