"""Winograd's algorithm over the integers, in two dimensions; along rows alone it is in `eq_tvm.schedules.rowwise`.

Files are named as in `eq_tvm.schedules.convolution`.
"""
