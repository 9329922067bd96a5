"""Direct convolutions whose instruction multiplies sums of activations and weights: what they add to others.

See `processor.sums` for the algorithm.
"""
