"""A fingerprint of arrays, for records."""

import hashlib

import numpy as np


def sha256(*arrays: np.ndarray) -> str:
    """Of arrays with their dtypes and shapes."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()
