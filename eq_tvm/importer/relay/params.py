"""The binary form of arrays: TVM's NDArray, and the parameters that ``relay.save_param_dict`` writes."""

from __future__ import annotations

import struct

import numpy as np

_PARAMS_MAGIC = 0xF7E58D4F05049CB7
_ARRAY_MAGIC = 0xDD5E40F096B4A13F
_KINDS = {0: "int", 1: "uint", 2: "float", 6: "bool"}  # DLPack's codes


def read_params(data: bytes) -> dict[str, np.ndarray]:
    """Parameters by name.

    Little-endian: a magic number and a reserved one, the names (their number; each with its length), the arrays
    (their number; each as in `read_array`).

    Raises
    ------
    ValueError
        Other or truncated data, in words for a person.
    """
    reader = _Reader(data)
    if reader.take("Q") != _PARAMS_MAGIC:
        raise ValueError("no parameters of relay.save_param_dict")
    reader.take("Q")
    names = [reader.text() for _ in range(reader.count(8))]
    if (arrays := reader.count(24)) != len(names):
        raise ValueError(f"{len(names)} names for {arrays} parameters")
    return {name: reader.array() for name in names}


def read_array(data: bytes) -> np.ndarray:
    """One array.

    Little-endian: a magic number and a reserved one, the device (kind and number, 32 bits each), the rank (32 bits),
    the dtype (code and bits, 8 each, lanes, 16), the extents (64 bits each), the number of bytes, and these.

    Raises
    ------
    ValueError
        Other or truncated data, in words for a person.
    """
    return _Reader(data).array()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> int:
        """One little-endian number."""
        return int(struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))[0])

    def bytes(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError("truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def count(self, size: int) -> int:
        """How many items follow, each of at least `size` bytes."""
        number = self.take("Q")
        if number * size > len(self.data) - self.at:
            raise ValueError("truncated")
        return number

    def text(self) -> str:
        return self.bytes(self.count(1)).decode()

    def array(self) -> np.ndarray:
        if self.take("Q") != _ARRAY_MAGIC:
            raise ValueError("no array of TVM where one should be")
        self.take("Q")
        self.take("Q")  # the device
        rank = self.take("I")
        code, bits, lanes = self.take("B"), self.take("B"), self.take("H")
        if code not in _KINDS or bits not in (1, 8, 16, 32, 64) or lanes != 1:
            raise ValueError(f"an array of a type that only TVM has (code {code}, {bits} bits, {lanes} lanes)")
        if (code == 2 and bits < 16) or (code == 6 and bits > 8):
            raise ValueError(f"an array of {_KINDS[code]}{bits}")
        dtype = np.dtype("bool" if bits == 1 or code == 6 else f"{_KINDS[code]}{bits}")
        shape = [self.take("q") for _ in range(rank)]
        content = self.bytes(self.count(1))
        values = np.frombuffer(content, dtype.newbyteorder("<"))
        if min(shape, default=0) < 0 or values.size != np.prod(shape, dtype=object):
            raise ValueError(f"{len(content)} bytes for an array {tuple(shape)} of {dtype}")
        return values.reshape(shape).astype(dtype)
