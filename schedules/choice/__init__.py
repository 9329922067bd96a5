"""How a kernel is chosen: every candidate for a layer, the proof that it is exact, the estimate of what it costs.

The only folder that knows all kernels; none of them knows it.
"""
