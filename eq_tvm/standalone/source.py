"""The C code that is written for a network: its header, and the tables that model.c runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from eq_tvm import host
from eq_tvm.artifacts.bundle import Bundle, TensorInfo
from eq_tvm.standalone import memory
from eq_tvm.standalone.kernels import Scratch
from eq_tvm.standalone.program import Program

HERE = Path(__file__).parent
CONSTANTS = "constants.bin"


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes
    ----------
    constants : bytes
    places : dict from int to (str, int)
        For each buffer, which of the places of model.c it is in, and its offset there.
    staging : dict from int to int
        Offsets in the workspace for inputs and outputs that the caller did not align.
    scratch : list of int
        The same for the scratch memory of each call.
    planned : int
        Bytes of the workspace, for one thread.
    task : int
        Bytes of scratch memory for each further thread.
    """

    constants: bytes
    places: Mapping[int, tuple[str, int]]
    staging: Mapping[int, int]
    scratch: list[int]
    planned: int
    task: int


def lay_out(program: Program, scratch: Mapping[str, Scratch]) -> Layout:
    """Find a place for each buffer of a program, and for what its kernels allocate."""
    constants, places = bytearray(), {}
    for buffer, array in program.constants.items():
        places[buffer] = "CONSTANT", len(constants)
        constants += array.tobytes().ljust(memory.aligned(array.nbytes), b"\0")

    lives = memory.lifetimes(program)
    first_scratch = len(program.sizes)  # numbers behind those of the buffers
    for index, (function, _) in enumerate(program.calls):
        lives[first_scratch + index] = memory.Lifetime(_bytes(scratch[function]), index, index)
    offsets, planned = memory.plan(lives)

    passed = program.inputs + program.outputs
    places |= {buffer: ("WORKSPACE", offset) for buffer, offset in offsets.items() if buffer not in passed}
    for kind, buffers in (("INPUT", program.inputs), ("OUTPUT", program.outputs)):
        for index, buffer in enumerate(buffers):
            places.setdefault(buffer, (kind, index))
    return Layout(
        constants=bytes(constants),
        places=places,
        staging={buffer: offsets.get(buffer, 0) for buffer in passed},
        scratch=[offsets[first_scratch + index] for index in range(len(program.calls))],
        planned=planned,
        task=max((scratch[function].task for function, _ in program.calls), default=0),
    )


def header(network: Bundle, comment: Iterable[str], threads: int) -> str:
    """The text of eq_model.h."""
    return Template((HERE / "eq_model.h").read_text(encoding="utf-8")).substitute(
        comment="\n".join(f" * {line}".rstrip() for line in comment).replace("*/", "* /"),
        inputs=len(network.inputs),
        outputs=len(network.outputs),
        threads=threads,
    )


def tables(network: Bundle, program: Program, layout: Layout, scratch: Mapping[str, Scratch]) -> str:
    """The text of tables.h."""
    names = sorted({function for function, _ in program.calls})
    arguments: list[str] = []
    calls: list[str] = []
    for (function, buffers), offset in zip(program.calls, layout.scratch, strict=True):
        size = _bytes(scratch[function])
        calls.append(f"{{__tvm_ffi_{function}, {len(arguments)}, {len(buffers)}, {offset}, {size}}}")
        arguments += [_argument(layout, buffer) for buffer in buffers]
    return (
        "\n".join(
            [
                f'__asm__(".pushsection .rodata.eq_model_constants, \\"a\\"\\n.balign {memory.ALIGNMENT}\\n"',
                '        ".globl eq_model_constants\\n.hidden eq_model_constants\\neq_model_constants:\\n"',
                f'        ".incbin \\"{CONSTANTS}\\"\\n.byte 0\\n.popsection\\n");',
                'extern const char constants[] __asm__("eq_model_constants") __attribute__((visibility("hidden")));',
                f"enum {{ MOST_ARGUMENTS = {max((len(buffers) for _, buffers in program.calls), default=1)} }};",
                f"#define PLANNED_BYTES {layout.planned}u",
                f"#define TASK_BYTES {layout.task}u",
                *(f"extern kernel __tvm_ffi_{name};" for name in names),
                _array("argument arguments", arguments),
                _array("call calls", calls),
                _array("eq_model_tensor input_tensors", map(_tensor, network.inputs)),
                _array("eq_model_tensor output_tensors", map(_tensor, network.outputs)),
                _array("uint32_t input_places", (str(layout.staging[buffer]) for buffer in program.inputs)),
                _array("uint32_t output_places", (str(layout.staging[buffer]) for buffer in program.outputs)),
                _array("argument results", (_argument(layout, buffer) for buffer in program.outputs)),
                f"#define SUPPORTED() ({_supported(network.target)})",
            ]
        )
        + "\n"
    )


def _bytes(scratch: Scratch) -> int:
    """What the calling thread needs, which computes one of the tasks."""
    return scratch.whole + scratch.task


def _supported(target: Mapping[str, Any]) -> str:
    """An expression for whether the processor has the multiply instructions, and what the target's `attrs` add."""
    features = [name for key in target["instructions"] for name in host.NEEDED_FEATURES[key]]
    features += [attr.removeprefix("+") for attr in target["attrs"]]
    checks = _CHECKS.get(target["architecture"], {})
    return " && ".join(checks[name] for name in dict.fromkeys(features) if name in checks) or "1"


_CHECKS = {
    "x86_64": {
        name: f'(__builtin_cpu_init(), __builtin_cpu_supports("{name}"))'
        for names in host.NEEDED_FEATURES.values()
        for name in names
        if not name.startswith("amx")
    }
    | {"amx-tile": "tiles_granted()"},  # only where the processor has them, amx-int8 included
    "aarch64": {
        "dotprod": "(getauxval(AT_HWCAP) & HWCAP_ASIMDDP)",
        "i8mm": "(getauxval(AT_HWCAP2) & (1 << 13))",  # HWCAP2_I8MM, which headers before Linux 5.7 lack
    },
    "armv7l": {
        "neon": "(getauxval(AT_HWCAP) & HWCAP_ARM_NEON)",
        "vfp4": "(getauxval(AT_HWCAP) & HWCAP_ARM_VFPv4)",
        # Of what ARMv8 has, Linux tells 32-bit programs of the CRC instructions, which every Cortex-A has.
        "fp-armv8": "(getauxval(AT_HWCAP2) & (1 << 4))",
    },
}


def _argument(layout: Layout, buffer: int) -> str:
    place, offset = layout.places[buffer]
    return f"{{{place}, {offset}}}"


def _array(declaration: str, items: Iterable[str]) -> str:
    return f"static const {declaration}[] = {{\n" + "".join(f"    {item},\n" for item in items) + "};"


def _tensor(info: TensorInfo) -> str:
    shape = ", ".join(map(str, info.shape))
    size = int(np.prod(info.shape)) * np.dtype(info.dtype).itemsize
    return f'{{{_string(info.name)}, "{info.dtype}", {len(info.shape)}, (const int64_t[]){{{shape or 0}}}, {size}}}'


def _string(text: str) -> str:
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
