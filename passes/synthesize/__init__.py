"""Canonical -> images: inputs for calibration that are made from the network itself, where nobody has typical ones.

Nothing here changes a module.
"""
