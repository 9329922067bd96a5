"""Lets the tests here import what `python benchmarks/arm.py` imports."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
