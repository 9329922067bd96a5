"""What all that calibrates, refines or analyzes shares: the canonical network as one that is to be quantized.

Which tensors are quantized to which integers, the annotated form (written and read back), the float network and its
quantized simulation in numpy, and the `Problem` that holds these together. No search for scales: see `calibrate`.
"""
