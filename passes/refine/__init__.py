"""Annotated -> annotated: better integers for scales that were found.

Passes that change weights and biases by what a layer's output loses, subclasses of `Refinement`, and the algebra that
they need.
"""
