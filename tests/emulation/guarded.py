"""Runs every kernel of a network on buffers that end, or begin, at a page that can't be accessed.

    python tests/emulation/guarded.py MODEL.onnx SCHEME TARGET

A kernel that reads or writes beyond any of its arguments, activations or weights, ends the process. Results must not
depend on where buffers are, nor on what was in them before.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi

from eq_tvm import passes, pipeline
from eq_tvm.importer import import_onnx
from eq_tvm.standalone.program import Program, straight_line
from eq_tvm.targets import get_target

PAGE, ALIGNMENT = mmap.PAGESIZE, 64  # TVM promises the alignment to kernels
IMAGES = 4


def main(path: str, scheme: str, target: str) -> int:
    """How many kernels ran."""
    spec = get_target(target)
    module = pipeline.canonicalize(import_onnx(Path(path)))
    random = np.random.default_rng(0)
    images = {
        param.name: random.standard_normal((IMAGES, *list(map(int, param.ty.shape))[1:]), "float32")
        for param in module["main"].params
    }
    if scheme != "float32":
        module, _ = pipeline.calibrate(module, images, scheme=scheme, method="minmax")
    lowered, _ = pipeline.lower(module, spec)
    program = straight_line(lowered)
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        functions = tvm.compile(program.functions, target=spec.tvm_target())
    inputs = [array[:1] for array in images.values()]
    (expected, *others) = (
        run(program, functions, inputs, allocate, fill)
        for allocate in (anywhere, at_the_end, at_the_start)
        for fill in (0x00, 0xA5)
    )
    for results in others:
        for result, reference in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, reference)
    return len(program.calls)


def run(
    program: Program,
    functions: tvm.runtime.Module,
    inputs: list[np.ndarray],
    allocate: Callable[[int], np.ndarray],
    fill: int,
) -> list[np.ndarray]:
    """The bytes of each output."""
    buffers = [allocate(size) for size in program.sizes]
    for buffer in buffers:
        buffer[:] = fill
    given = program.constants | dict(zip(program.inputs, inputs, strict=True))
    for index, array in given.items():
        buffers[index][:] = np.frombuffer(array.tobytes(), "uint8")
    for name, arguments in program.calls:
        types = program.functions[name].params
        functions[name](*(tensor(buffers[i], buffer) for i, buffer in zip(arguments, types, strict=True)))
    return [buffers[index].copy() for index in program.outputs]


def tensor(memory: np.ndarray, buffer: tvm.tirx.Buffer) -> tvm_ffi.Tensor:
    """The memory itself, as what a function takes."""
    dtype = str(buffer.dtype)
    return tvm_ffi.from_dlpack(memory.view(dtype).reshape([int(extent) for extent in buffer.shape]))


def anywhere(size: int) -> np.ndarray:
    """With room on both sides."""
    memory = np.empty(size + 3 * ALIGNMENT, "uint8")
    start = ALIGNMENT + -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def at_the_end(size: int) -> np.ndarray:
    """Up to a page that can't be accessed; where `size` is no multiple of the alignment, up to that less."""
    room = _up(size, PAGE)
    return _mapped(room + PAGE, protected=room, start=room - _up(size, ALIGNMENT), size=size)


def at_the_start(size: int) -> np.ndarray:
    """From a page on that can't be accessed."""
    return _mapped(PAGE + _up(size, PAGE), protected=0, start=PAGE, size=size)


def _mapped(length: int, protected: int, start: int, size: int) -> np.ndarray:
    mapping = np.frombuffer(mmap.mmap(-1, length), "uint8")  # which lives as long as its views
    page = ctypes.c_void_p(mapping.ctypes.data + protected)
    if ctypes.CDLL(None, use_errno=True).mprotect(page, ctypes.c_size_t(PAGE), mmap.PROT_READ & 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    return mapping[start : start + size]


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


if __name__ == "__main__":
    faulthandler.enable()
    print(main(*sys.argv[1:]), "kernels")
