"""Kernels of everything but convolutions.

Pooling, sums, products, tables, resizing, concatenation, recurrent layers.
"""
