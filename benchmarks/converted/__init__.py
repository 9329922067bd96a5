"""Networks in the form of peers that bring a converter of their own: LiteRT and MNN."""
