"""Canonical -> canonical, as quantization wants it: the float network stays the same function.

Passes that move ranges between layers with the help of calibration images, before any scale is found.
"""
