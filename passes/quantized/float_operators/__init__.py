r"""What operators compute, in numpy, on the arrays (N, \*shape) of N images; one family per file.

Each function takes a node and the results of its inputs. No walk over a network: see `float_executor`.
"""
