"""Proofs, from a layer's actual weights, that its accumulators fit their integers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

INT16_MAX = int(np.iinfo(np.int16).max)
INT32_MAX = int(np.iinfo(np.int32).max)


@dataclass(frozen=True)
class Proof:
    """What exactness hangs on: how far something can go with a layer's actual weights, and how far it may.

    Attributes
    ----------
    of : str
        What is bounded, for people.
    reached : int
        Its greatest magnitude for any activations in the layer's range.
    bound : int
        The greatest that its integer holds.
    """

    of: str
    reached: int
    bound: int

    @property
    def holds(self) -> bool:
        """Whether it stays within the bound."""
        return self.reached <= self.bound


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


def accumulator_proof(
    weight: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], activation_range: tuple[int, int]
) -> Proof:
    """That accumulators, whose arguments are those of `worst_accumulators`, fit int32."""
    reached = int(worst_accumulators(weight, bias, activation_range).max(initial=0))
    return Proof("sums in 32 bits", reached, INT32_MAX)


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
