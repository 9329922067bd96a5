"""From files and arrays to what a network takes.

Here lives how an image file becomes pixels, and pixels or arrays an input of the network's shape and dtype, for all
that runs networks: calibration, `run`, `evaluate`, `bench`, boards. What a set of images looks like on the disk is
`eq_tvm.data`, and the formula from pixels to numbers `eq_tvm.preprocess`.
"""
