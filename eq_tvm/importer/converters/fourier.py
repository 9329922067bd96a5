"""DFT and STFT as products with matrices of sines."""

from __future__ import annotations

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall


def _dft(call: OnnxCall) -> relax.Expr:
    """Along one axis; the last one holds real and imaginary parts."""
    rank, builder = len(call.shape(0)), call.builder
    axis = call.number(2, call.attributes.get("axis", 1 if call.opset < 20 else -2)) % rank
    inverse, onesided = (bool(call.attributes.get(name, 0)) for name in ("inverse", "onesided"))
    extent = call.shape(0)[axis]
    is_half = inverse and onesided  # the other half is the conjugate
    size = call.number(1, 2 * (extent - 1) if is_half else extent)
    order = [i for i in range(rank) if i not in (axis, rank - 1)] + [axis, rank - 1]
    rows = builder.emit(relax.op.permute_dims(call.inputs[0], order))
    shape = [int(n) for n in rows.ty.shape]
    read = min(extent, size // 2 + 1 if is_half else size)
    rows = builder.emit(relax.op.strided_slice(rows, [rank - 2], [0], [read]))
    rows = builder.emit(relax.op.reshape(rows, (-1, read * shape[-1])))
    matrix = _fourier(read, size, inverse, onesided)[:, : shape[-1]]
    count, parts = matrix.shape[2:]
    matrix = matrix.reshape(read * shape[-1], count * parts).astype(call.dtype(0))
    product = builder.emit(relax.op.matmul(rows, relax.const(matrix)))
    product = builder.emit(relax.op.reshape(product, [*shape[:-2], count, parts]))
    return relax.op.permute_dims(product, [int(i) for i in np.argsort(order)])


def _fourier(read: int, size: int, inverse: bool, onesided: bool) -> np.ndarray:
    """(read, parts, results, parts)."""
    count = size // 2 + 1 if onesided and not inverse else size
    angle = 2 * np.pi * np.outer(np.arange(read), np.arange(count)) / size
    cosine, sine = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    matrix = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], 1)
    if inverse:
        matrix /= size
    if not (inverse and onesided):
        return matrix
    twice = np.full(read, 2.0)
    twice[0] = 1
    if size % 2 == 0 and read == size // 2 + 1:
        twice[-1] = 1
    return matrix[..., :1] * twice[:, None, None, None]


def _stft(call: OnnxCall) -> relax.Expr:
    """Frames of the signal by the window, each transformed."""
    builder, shape, dtype = call.builder, call.shape(0), call.dtype(0)
    if len(shape) == 3 and shape[2] == 2:
        raise ValueError("of complex signals can't be compiled")
    step = call.number(1)
    size = call.shape(2)[0] if call.operand(3) is None else call.number(3)
    onesided = bool(call.attributes.get("onesided", 1))
    frames = (shape[1] - size) // step + 1
    places = (np.arange(frames)[:, None] * step + np.arange(size)).reshape(-1)
    signal = builder.emit(relax.op.reshape(call.inputs[0], shape[:2]))
    rows = builder.emit(relax.op.take(signal, relax.const(places), 1, "clip"))
    rows = builder.emit(relax.op.reshape(rows, (shape[0] * frames, size)))
    if call.operand(2) is not None:
        rows = builder.emit(relax.op.multiply(rows, call.inputs[2]))
    matrix = _fourier(size, size, False, onesided)[:, 0]
    count = matrix.shape[1]
    product = builder.emit(relax.op.matmul(rows, relax.const(matrix.reshape(size, -1).astype(dtype))))
    return relax.op.reshape(product, (shape[0], frames, count, 2))


FOURIER: dict[str, Converter] = {"DFT": _dft, "STFT": _stft}
