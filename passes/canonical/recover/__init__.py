"""Operators that importers and exporters write as several: each found again as what it means.

One rewriting pass per file. A pass belongs here if it makes one operator of a chain or of a loop nest.
"""
