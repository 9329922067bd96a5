"""Networks that come quantized, with quantize/dequantize pairs (QDQ) and scales of their own, to the annotated form.

No images, and no scales but those that are given. Weights in integers are real numbers while a network is made
canonical, as everywhere; here they become integers again.
"""
