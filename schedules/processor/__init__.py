"""What a processor can do: its multiply instructions, in what order it likes them, how it rounds and packs.

A record per instruction (`instructions`) and its words in LLVM's language, by architecture. No kernels, and no choice
between instructions for a layer: see `convolution` and `choice`.
"""
