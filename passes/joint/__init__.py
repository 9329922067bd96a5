"""Canonical -> annotated: scales by the loss of the whole network.

Calibrations that search all scales together, and what they need for it: the loss, the network simulated from any node
on, and the searches.
"""
