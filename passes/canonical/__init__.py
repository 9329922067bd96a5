"""Imported -> canonical: float passes that leave what a network computes as it is.

One rewriting pass per file, and `canonical_passes`, the list of them with what it guarantees. A pass belongs here if it
needs neither images nor a target.
"""
