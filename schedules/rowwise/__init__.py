"""Winograd's algorithm along the rows of an image, with products of bytes."""
