"""The ways to find scales, by the names that people use."""

# What each one goes by.
METHODS = {
    "easyquant": "the largest cosine between float and quantized outputs of each layer (arXiv 2006.16669)",
    "easyquant-shipped": "the same with the settings of its authors' code",
    "minmax": "the largest magnitudes",
    "percentile": "99.99 % of each activation does not saturate",
    "kl": "the least relative entropy of each activation, as TensorRT",
    "mse": "the least square error of each tensor",
}
