"""Annotated -> integer: the arithmetic of docs/integer-program.md, as calls to scheduled kernels.

What an operator lowers to (`lowering_rules`), what a value stands for meanwhile (`lowered_values`), how it becomes a
tensor (`materialize`), and with which function (`kernels`). Kernels themselves are in `eq_tvm.schedules`.
"""
