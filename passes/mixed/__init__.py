"""The type of each layer, by what it costs on a target and what it loses: HAGO's thesis with a cost model.

`units` are layers that must have one type, `costs` says what each costs, `knapsack` chooses.
"""
