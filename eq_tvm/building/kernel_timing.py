"""How long one kernel takes on random numbers, with weights that are not in the near caches; and what it computes."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from eq_tvm.schedules.choice.candidate import Candidate

SECONDS = 0.05  # of measuring one kernel
FAR = 48 << 20  # bytes of copies of the weights that take turns, as in a network none are cached when it is their turn


def time_kernel(run: Callable[..., Any], arrays: Sequence[np.ndarray], constants: int) -> tuple[float, str]:
    """Median seconds of one run, and the SHA-256 of what the first one computed.

    Parameters
    ----------
    run : callable
        Takes arrays as `tvm.runtime.Tensor`, the last of which is the result.
    arrays : sequence of np.ndarray
        What `arguments_of` gives: activations, constants, limits, perhaps a residual, and the result.
    constants : int
        How many constants there are.
    """
    import tvm

    activations = tvm.runtime.tensor(arrays[0])
    packed, others = arrays[1 : 1 + constants], [tvm.runtime.tensor(array) for array in arrays[1 + constants :]]
    copies = max(1, min(64, FAR // max(sum(array.nbytes for array in packed), 1)))
    weights = [[tvm.runtime.tensor(array) for array in packed] for _ in range(copies)]
    run(activations, *weights[0], *others)
    digest = hashlib.sha256(others[-1].numpy().tobytes()).hexdigest()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        for copy in weights:
            start = time.perf_counter()
            run(activations, *copy, *others)
            times.append(time.perf_counter() - start)
            if time.perf_counter() > end and len(times) >= 5:
                break
    return statistics.median(times), digest


def arguments_of(candidate: Candidate, parameters: Sequence[Any]) -> tuple[list[np.ndarray], int]:
    """Arrays for a candidate's kernel, and how many of them are constants.

    Activations, residual and limits are the same for all candidates of a layer, on every target, and in the layer's
    range: so all have to compute the same.

    Parameters
    ----------
    candidate : Candidate
    parameters : sequence of tvm.tirx.Var
        Of its function.
    """
    constants = [np.ascontiguousarray(array) for array in candidate.constants()]
    first, *rest = parameters
    low, high = (0, 63) if candidate.source is None else candidate.source.span
    activations = _random(first, low, high or 63)
    limits, *others = rest[len(constants) :]
    result = others[-1]
    return [
        activations,
        *constants,
        _limits(limits, str(result.dtype)),
        *(_random(parameter, 0, 63) for parameter in others[:-1]),
        np.zeros([int(extent) for extent in result.shape], str(result.dtype)),
    ], len(constants)


def _limits(parameter: Any, dtype: str) -> np.ndarray:
    """No limit but the dtype's; and where it takes one, a scale for the residual."""
    if np.dtype(dtype).kind == "f":
        return np.array([-np.inf, np.inf], "float32")
    kind = np.iinfo(dtype)
    return np.array([kind.min, kind.max, _RESIDUAL][: int(parameter.shape[0])], "int32")


_RESIDUAL = 1000  # in fixed point


def _random(parameter: Any, low: int, high: int) -> np.ndarray:
    """Whole numbers, the same in whatever shape."""
    shape, dtype = [int(extent) for extent in parameter.shape], str(parameter.dtype)
    return np.random.default_rng(0).integers(low, high, shape, endpoint=True).astype(dtype)
