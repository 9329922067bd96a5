"""Conversions of operators on images: what resizes, pads, pools, samples, and moves pixels.

One file per family; a function per operator, which the table beside this folder names.
"""
