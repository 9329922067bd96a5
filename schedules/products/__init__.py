"""Products of two activations: element by element, and of matrices.

A product of matrices is a convolution whose weights are packed while the network runs: `operand` has what that takes.
"""
