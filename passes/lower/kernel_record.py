"""What is told of the kernel that was chosen for a layer, and of those that were not."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from eq_tvm.schedules.choice.candidate import Candidate

from .weight_size import small, weight_bytes


class ConsideredKernel(TypedDict):
    """An algorithm with an instruction, in all its tilings."""

    kernel: str  # the cheapest of them: algorithm, instruction and tiling
    cycles: list[int]  # estimated, of all of them, each number once, rising
    proofs: list[list[str | int]]  # of what, how far it can go, how far it may: refused where that is less


class KernelRecord(TypedDict):
    """What is told of the kernel that was chosen for a layer."""

    layer: str
    function: str  # its name in the lowered module
    kernel: str  # algorithm, instruction and tiling
    macs: int
    instruction: str  # what multiplies
    multiplications: int  # of that instruction, in multiply-accumulates
    cycles: int  # estimated, of one core
    weight_bytes: int
    small_weight_bytes: int  # of the fastest kernel that does not enlarge the weights
    considered: list[ConsideredKernel]  # the cheapest first
    left_out: dict[str, str]  # kernels and instructions that can't compute the layer, with the reason


def kernel_record(
    layer: str, function: str, macs: int, best: Candidate, found: Sequence[Candidate], left_out: Mapping[str, str]
) -> KernelRecord:
    """The record of a choice.

    Parameters
    ----------
    layer, function : str
        Their names.
    macs : int
        Multiply-accumulates of the layer.
    best : Candidate
        The one that was chosen.
    found : sequence of Candidate
        All that were considered.
    left_out : mapping of str to str
        What was not, with the reason.
    """
    proven = [candidate for candidate in found if candidate.is_proven]
    return {
        "layer": layer,
        "function": function,
        "kernel": best.name,
        "macs": macs,
        "instruction": best.instruction,
        "multiplications": round(best.multiplications),
        "cycles": round(best.cycles),
        "weight_bytes": weight_bytes(best),
        "small_weight_bytes": weight_bytes(min(small(proven), key=lambda candidate: candidate.cycles)),
        "considered": _considered(found),
        "left_out": dict(left_out),
    }


def _considered(found: Sequence[Candidate]) -> list[ConsideredKernel]:
    families: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in sorted(found, key=lambda candidate: candidate.cycles):
        families.setdefault((candidate.algorithm, candidate.instruction), []).append(candidate)
    return [
        {
            "kernel": cheapest.name,
            "cycles": sorted({round(each.cycles) for each in family}),
            "proofs": [[proof.of, proof.reached, proof.bound] for proof in cheapest.proofs],
        }
        for family in families.values()
        for cheapest in family[:1]
    ]
