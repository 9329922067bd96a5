"""What kind of numbers a dtype holds."""

from __future__ import annotations

import numpy as np

_REGISTERED = 2  # with NumPy by a package, which calls them void: bfloat16 and float8 of ml_dtypes


def number_kind(dtype: np.dtype | str) -> str:
    """NumPy's letter: "b", "i", "u", "f" for all floats, also those that are not NumPy's own, or another."""
    dtype = np.dtype(dtype)
    return "f" if dtype.isbuiltin == _REGISTERED and "float" in dtype.name else dtype.kind
