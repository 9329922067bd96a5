"""Depthwise convolutions of integers, each kernel in the form that `eq_tvm.schedules.convolution` describes."""
