"""Relax passes: canonicalization, calibration, lowering to the integer program."""
