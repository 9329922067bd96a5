"""What `compile` and `analyze` do to quantize a network.

Here live decisions about a network's quantization that are not passes: which images find the scales and which are left
to measure with, which layers to keep wider, and what to advise for a layer that loses much. What changes a module is
in `eq_tvm.passes`.
"""
