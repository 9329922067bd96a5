"""Evaluating in parts: what is counted of some images, and processes and machines that count parts of them.

`eq_tvm.evaluate` joins what they counted. A part is samples that follow each other, and parts are joined in their
order, so that results are the same numbers as of one process.
"""
