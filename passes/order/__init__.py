"""Annotated -> annotated, channels in another order: the same integers in the end, faster on the way."""
