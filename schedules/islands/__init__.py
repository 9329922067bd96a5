"""Kernels of float operators between quantized layers, and a schedule for any function that has none.

Exact they need not be, but as near to the function as the operator's definition in float32.
"""
