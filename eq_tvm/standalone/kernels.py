"""The kernels of a network as one object file, and the scratch memory that they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

from eq_tvm import passes
from eq_tvm.standalone.memory import aligned
from eq_tvm.standalone.program import NEEDS_RUNTIME


@dataclass(frozen=True)
class Scratch:
    """Bytes that a kernel allocates while it runs: once, and in each of its parallel tasks."""

    whole: int = 0
    task: int = 0


def compile_kernels(functions: tvm.IRModule, target: tvm.target.Target, file: Path) -> Mapping[str, Scratch]:
    """Write the object file of PrimFuncs; the symbol of NAME is ``__tvm_ffi_NAME``.

    Returns
    -------
    mapping from str to Scratch
        For each function.

    Raises
    ------
    ValueError
        A function calls something of TVM's runtime.
    """
    measure = _Measure()
    # The arguments are those that the driver passes: what checks them would be four fifths of the code.
    config = {**passes.COMPILE_CONFIG, "tirx.disable_assert": True}
    with tvm.transform.PassContext(opt_level=3, config=config, instruments=[measure]):
        tvm.compile(functions, target=target).mod.write_to_file(str(file), "o")
    return measure.scratch


@tvm.instrument.pass_instrument
class _Measure:
    """Looks at the functions when all allocations have become calls."""

    def __init__(self) -> None:
        self.scratch: dict[str, Scratch] = {}

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        if info.name == "tirx.LowerTVMBuiltin":
            self.scratch = {var.name_hint: _scratch(var.name_hint, function) for var, function in mod.functions_items()}


def _scratch(name: str, function: tirx.PrimFunc) -> Scratch:
    """An upper bound: as if all that is allocated were held until the end."""
    tasks: list[int] = []

    def note(loop: tirx.For) -> None:
        if loop.kind == tirx.ForKind.PARALLEL:
            tasks.append(_allocated(name, loop.body))

    tvm_ffi.structural_walk(function.body, (tirx.For, note))
    return Scratch(_allocated(name, function.body) - sum(tasks), max(tasks, default=0))


def _allocated(name: str, body: tirx.Stmt) -> int:
    """The sum of all allocations in a statement."""
    total = 0

    def note(call: tvm.ir.Call) -> None:
        nonlocal total
        operator = getattr(call.op, "name", "")
        if operator == "tirx.TVMBackendAllocWorkspace":
            total += aligned(int(call.args[2]))
        elif "packed" in operator:
            raise ValueError(f"function {name} {NEEDS_RUNTIME}")

    tvm_ffi.structural_walk(body, (tvm.ir.Call, note))
    return total
