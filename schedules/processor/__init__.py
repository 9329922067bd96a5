"""What a processor can do: its multiply instructions, in what order it likes them, how it rounds and packs.

A record per instruction (`instruction`) and its words in LLVM's language, by architecture (`x86`, `neon`), a record of
the processor (`machine`). No kernels, and no choice between kernels for a layer: see `convolution` and `choice`.
"""
