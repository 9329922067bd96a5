"""Proofs, from a layer's actual weights, that its accumulators fit their integers."""

import numpy as np
import numpy.typing as npt

INT16_MAX = int(np.iinfo(np.int16).max)
INT32_MAX = int(np.iinfo(np.int32).max)


def folded_bias(
    weight: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], activation_range: tuple[int, int], offset: int
) -> npt.NDArray[np.int32]:
    """The int32 bias that also takes back `offset`, once it is proven that no accumulator overflows.

    Parameters
    ----------
    weight : numpy.ndarray
        int8, output channels first.
    bias : numpy.ndarray
        int32, one for each output channel.
    activation_range : (int, int)
    offset : int
        What was added to each activation.

    Raises
    ------
    ValueError
        If some accumulator could leave int32 in the worst case.
    """
    worst = worst_accumulators(weight, bias, activation_range)
    if worst.max(initial=0) > INT32_MAX:
        channel = int(worst.argmax())
        raise ValueError(f"output channel {channel}: its accumulator could reach {worst[channel]}, beyond 32 bits")
    sums = weight.reshape(weight.shape[0], -1).sum(1, dtype="int64")
    return (bias - offset * sums).astype("int32")  # may wrap: the accumulator wraps back


def worst_accumulators(
    weight: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], activation_range: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Greatest magnitude (int64) that each output channel's accumulator can reach, bias included.

    Parameters
    ----------
    weight : numpy.ndarray
        int8, output channels first.
    bias : numpy.ndarray
        int32, one for each output channel.
    activation_range : (int, int)
    """
    w = weight.reshape(weight.shape[0], -1).astype("int64")
    ends = np.stack([w * end for end in activation_range])
    worst: npt.NDArray[np.int64] = np.maximum(ends.max(0).sum(1) + bias, -(ends.min(0).sum(1) + bias))
    return worst
