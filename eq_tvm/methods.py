"""The ways to quantize, by the names that people use."""

# What the scales go by.
SCALES = {
    "easyquant": "the largest cosine between float and quantized outputs of each layer (arXiv 2006.16669)",
    "easyquant-shipped": "the same with the settings of its authors' code",
    "minmax": "the largest magnitudes",
    "percentile": "99.99 % of each activation does not saturate",
    "kl": "the least relative entropy of each activation, as TensorRT",
    "mse": "the least square error of each tensor",
    "lapq": "the least error of the network's outputs, of all scales together, in minutes (arXiv 1911.07190)",
    "vit": "the largest correlation of layers' outputs, and the order of attention (arXiv 2106.14156)",
}
REFINED = "+"  # behind the name: channels are centered and equalized before, weights rounded for each layer's output
LAYERS, BLOCKS = REFINEMENTS = ("layers", "blocks")  # by whose output weights are rounded then
ROWS = "rows"  # what plain methods do instead, where nothing but speed matters
DEFAULT = f"mse{REFINED}"  # the best of docs/accuracy.md
UNPROVED = f"minmax{REFINED}"  # where nothing says that images have the magnitudes of real ones
PLAINEST = "minmax"  # compared with it where nobody asked for a method
OWN = "own"  # scheme and method of networks that come quantized, with scales of their own
METHODS = (*SCALES, *(f"{name}{REFINED}" for name in SCALES))
FDDA = "fdda"  # short for the default by blocks, on synthetic images as well (after arXiv 2109.04186)
CHOICES = (*METHODS, FDDA)
HELP = "; ".join(f"{name}: {what}" for name, what in SCALES.items()) + (
    f". With {REFINED} behind the name, channels are centered and equalized, and weights rounded for the least error "
    f"of each layer. {FDDA}: {DEFAULT} with --refine {BLOCKS}, on as many synthetic images as --images says, too; for "
    "4 bits."
)
