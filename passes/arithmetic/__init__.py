"""Arithmetic whose results are the same bits on every machine, by numpy alone.

BLAS sums in an order that depends on the processor, on threads and on shapes, and LAPACK does so, too. Here they
multiply whole numbers only, of which all sums are exact.
"""
