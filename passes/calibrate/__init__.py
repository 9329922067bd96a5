"""Canonical -> annotated: the methods that find scales.

One method per file, a subclass of `Calibration` named as in `MinMaxCalibrate`; beside them the statistics, samples and
searches that methods share. To add a method, see CONTRIBUTING.md.
"""
