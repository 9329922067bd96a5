"""Steps of `eq_tvm.compiler`.

Here lives what compilation does besides quantizing and the passes: importing a network up to its canonical module,
choosing kernels by measuring them, and the kinds of artifacts that can be written. The order of these steps is in
`eq_tvm.compiler`, that of the passes in `eq_tvm.pipeline`.
"""
