"""Kernels of everything but convolutions: pooling, sums, products, tables, resizing, concatenation, recurrent layers.

And `fallback`, a schedule for any function that no kernel family takes.
"""
