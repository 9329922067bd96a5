"""Reverse mode: what the operators of a network pass back of the gradient of a loss, in float32."""
