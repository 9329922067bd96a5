"""Annotated -> integer: the arithmetic of docs/integer-program.md, as calls to scheduled kernels.

The pass (`lower_to_integer`) walks over the bindings: what an operator lowers to (`rules`, one table), what a
value stands for meanwhile (`lowered_values`), how it becomes a tensor (`materialize`), and by a call of which function
(`kernels`; of a layer: `layer_kernel`). Afterwards concatenations are joined in place. Kernels themselves are in
`eq_tvm.schedules`.
"""
