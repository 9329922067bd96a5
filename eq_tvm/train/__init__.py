"""Quantization-aware training, with PyTorch (the extra `train`): networks trained as they will compute.

What is trained is the prepared canonical module, node by node, with the quantizers of the integer program, so that what
is written as QDQ compiles to the integers that training saw. Nothing outside imports from here but the command `train`.
"""
