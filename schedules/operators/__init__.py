"""Kernels of everything but convolutions: pooling, sums, products, tables, resizing, concatenation, recurrent layers."""
