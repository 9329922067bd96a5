"""The binary form of parameters, as TVM writes it."""

import struct

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.errors import UserError
from eq_tvm.importer.relay import read_relay
from eq_tvm.importer.relay.params import read_array, read_params

CODES = {"i": 0, "u": 1, "f": 2, "b": 1}
DTYPES = ["float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]


def written(array) -> bytes:
    bits = 1 if array.dtype == bool else array.dtype.itemsize * 8
    head = struct.pack("<QQ", 0xDD5E40F096B4A13F, 0) + struct.pack("<iii", 1, 0, array.ndim)
    head += struct.pack("<BBH", CODES[array.dtype.kind], bits, 1) + struct.pack(f"<{array.ndim}q", *array.shape)
    return head + struct.pack("<q", array.nbytes) + array.tobytes()


def written_params(params) -> bytes:
    names = b"".join(struct.pack("<Q", len(name.encode())) + name.encode() for name in params)
    data = struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, len(params)) + names + struct.pack("<Q", len(params))
    return data + b"".join(map(written, params.values()))


PARAMS = st.dictionaries(
    st.text(max_size=8),
    st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_side=3))),
    max_size=4,
)


@given(PARAMS)
def test_round_trip(params):
    found = read_params(written_params(params))
    assert list(found) == list(params)
    for name, array in params.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@given(PARAMS, st.data())
def test_truncated(params, data):
    content = written_params(params)
    with pytest.raises(ValueError, match="truncated"):
        read_params(content[: data.draw(st.integers(0, len(content) - 1))])


@given(PARAMS, st.data())
def test_damaged(params, data):
    """Any byte may be another: a ValueError with words, or other numbers."""
    content = bytearray(written_params(params))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read_params(bytes(content))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    "content,message",
    [
        (b"\0" * 100, "no parameters of relay.save_param_dict"),
        (written_params({"a": np.zeros(1)}).replace(b"\x3f\xa1\xb4", b"\x3f\xa1\xb5"), "no array of TVM"),
        (
            written_params({"a": np.zeros(1)}).replace(struct.pack("<BBH", 2, 64, 1), b"\x04\x10\1\0"),
            "that only TVM has",
        ),
        (
            written_params({"a": np.zeros(3)}).replace(struct.pack("<q", 3), struct.pack("<q", 4)),
            "24 bytes for an array",
        ),
        (written_params({"a": np.zeros(2)})[:33] + struct.pack("<Q", 2) + bytes(99), "1 names for 2 parameters"),
    ],
)
def test_what_is_wrong_is_said(content, message):
    with pytest.raises(ValueError, match=message):
        read_params(content)


def test_array_alone():
    np.testing.assert_array_equal(read_array(written(np.arange(6).reshape(2, 3))), np.arange(6).reshape(2, 3))


def test_parameters_of_another_module(tmp_path):
    path = tmp_path / "net.relay"
    path.write_text("def @main(%x: Tensor[(3), float32], %w: Tensor[(3), float32]) { add(%x, %w) }")
    path.with_suffix(".params").write_bytes(written_params({"other": np.ones(3, np.float32)}))
    with pytest.raises(UserError, match="none of the parameters in the file beside it is main's: they are other"):
        read_relay(path)
