"""Convolution kernels, one family per file: direct, Winograd, depthwise.

Each takes a frozen plan and returns a scheduled PrimFunc; a plan also packs the weights into the order that its kernel
reads. Which plan is best is not decided here: see `choice`.
"""
