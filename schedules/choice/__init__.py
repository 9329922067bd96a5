"""How a kernel is chosen: every candidate for a layer, the proof that its chains are exact, the estimate of its cost.

The only folder that knows all kernels; none of them knows it.
"""
