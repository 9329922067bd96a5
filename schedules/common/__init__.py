"""What kernels of all families are built from, whatever the processor.

TIR helpers that TVM lacks, names for loops, prefetching, the arithmetic behind an accumulation. Nothing here knows a
multiply instruction or a kernel.
"""
