"""Whether a bundle is what it says: its files, the proofs behind its kernels, and what it computes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.building.canonical import pass_errors
from eq_tvm.building.turns import one_at_a_time
from eq_tvm.errors import UserError, counted
from eq_tvm.files.regular_file import read_file, read_text
from eq_tvm.running import here
from eq_tvm.running.sample import compare
from eq_tvm.targets import TargetSpec

if TYPE_CHECKING:
    import tvm

    from eq_tvm.schedules.choice.candidate import Candidate


def check_bundle(path: str | Path) -> Iterator[tuple[str, str]]:
    """Check one thing after another; gives what was checked, and what came of it.

    Yields
    ------
    str, str
        ``files``: each has the SHA-256 that is noted. ``proofs``: the network in the bundle is lowered once more for
        its target, with all proofs that accumulators fit (which raise where one does not); the kernels are those that
        are noted, and all constants that they read, packed weights, biases and multipliers, are in the shared object
        byte by byte. ``sample``: on the noise that the bundle remembers, it computes what it computed when it was
        compiled; where this machine can't run it, the same network compiled for this machine does.

    Raises
    ------
    UserError
        Anything else than what is noted.
    """
    bundle = bundles.read(path)
    yield "files", _check_files(bundle)
    annotated = here.annotated(bundle)
    yield "proofs", bundle.not_exported if annotated is None else _check_proofs(bundle, annotated)
    yield "sample", _check_sample(bundle, annotated)


def _check_files(bundle: Bundle) -> str:
    assert bundle.path is not None
    description = json.loads(read_text(bundle.path / bundles.DESCRIPTION))
    if others := sorted({file.name for file in bundle.path.iterdir()} - description["files"].keys()):
        raise UserError(f"the bundle {bundle.path} has a file that is not noted: {others[0]}")
    if not bundle.not_exported:
        bundles.read_network(bundle.path)
    return f"{', '.join(description['files'])}: as noted (SHA-256)"


@one_at_a_time
def _check_proofs(bundle: Bundle, annotated: tvm.IRModule) -> str:
    from eq_tvm import pipeline

    spec = TargetSpec(**{each.name: bundle.target[each.name] for each in fields(TargetSpec)})
    left = [kernel["kernel"] for kernel in bundle.kernels]

    def noted(key: str, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate that comes first in what is left of the bundle's list."""
        names = {candidate.name: candidate for candidate in candidates}
        name = next((name for name in left if name in names), None)
        if name is None:
            raise ValueError(f"{key} has none of the kernels that the bundle notes: compile it again")
        left.remove(name)
        return names[name]

    with pass_errors():
        lowered, kernels = pipeline.lower(
            annotated,
            spec,
            choose=noted,
            optimize=bundle.optimize,
        )
    if [kernel["kernel"] for kernel in kernels] != [kernel["kernel"] for kernel in bundle.kernels]:
        raise UserError(f"the bundle {bundle.path} notes other kernels than its network has; compile it again")
    library = read_file(bundle.library)
    constants = _constants(lowered)
    missing = [array for array in constants if array.tobytes() not in library]
    if missing:
        raise UserError(
            f"the shared object of {bundle.path} lacks {len(missing)} of the {len(constants)} constants that its "
            "network has: it is of another one; compile it again"
        )
    size = sum(array.nbytes for array in constants)
    layers = counted(len(kernels), "layer")
    return f"no accumulator of {layers} overflows, by the {size:,} bytes of constants in the shared object"


def _constants(module: tvm.IRModule) -> list[np.ndarray]:
    import tvm

    found: list[np.ndarray] = []

    def visit(expression: object) -> None:
        if isinstance(expression, tvm.ir.GenericConst):
            found.append(expression.value.numpy())

    tvm.relax.analysis.post_order_visit(module["main"], visit)
    return found


def _check_sample(bundle: Bundle, annotated: tvm.IRModule | None) -> str:
    if bundle.sample is None:
        return "none is remembered"
    found = here.model_here(bundle, annotated)
    if found is None:
        return f"can be checked on {bundle.target['name']} only"
    model, itself = found
    what = "it computes" if itself else "its network, compiled for this machine, computes"
    equal = compare(bundle.sample, model)
    return f"{what} what it did when it was compiled{', bit for bit' if equal else ', but for the rounding of floats'}"
