"""What quantization costs: the quantized network beside the float one, for reports.

Functions, not passes: they change no module, and nothing else in `passes` depends on them.
"""
