"""Canonical -> annotated: scales by the correlation of what layers and attention compute.

The calibration of vision transformers, and what it needs: samples of all operands, the correlation and the order of
scores that it goes by, and the search of weights.
"""
