"""Direct convolutions. Depthwise ones are in `eq_tvm.schedules.depthwise`, Winograd's in `winograd` and `rowwise`.

`x.py` has the algorithm: in the textbook's form, then as the kernel computes it. `x_plan.py` tells how the work is cut
and in which order the kernel reads its weights, and packs them; `x_schedule.py` orders the loops, where that is long.
Each kernel takes a frozen plan and returns a scheduled PrimFunc. Which plan is best is not decided here: see `choice`.
"""
