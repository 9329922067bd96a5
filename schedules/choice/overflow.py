"""Proofs, from a layer's actual weights, that no sum of products overflows."""

import numpy as np

INT16_MAX = 2**15 - 1
INT32_MAX = 2**31 - 1


def longer_chains(instruction, packed, activation_range, lengths=(2, 4, 8)):
    """The same instruction with every longer chain whose int16 sums provably fit, for a layer's actual weights.

    Parameters
    ----------
    instruction : Instruction
        As `choose` found it from the greatest weight alone.
    packed : callable
        Takes an instruction and returns the weights as it would read them: axes (..., chain, lane, pair).
    activation_range : (int, int)
        Least and greatest activation as the instruction reads it, offset included.
    lengths : sequence of int
        Chains to consider.

    Notes
    -----
    An int16 lane adds up `chain` neighbours along that axis, and pmaddubsw two products before that. The greatest sum
    has the positive weights at the upper end of the range and the negative ones at the lower; the least the reverse.
    """
    if instruction.chained is None:
        return
    for chain in lengths:
        if chain <= instruction.chain:
            continue
        longer = instruction.chained(chain)
        w = packed(longer).astype("int32")
        if longer.parts > 1:  # both halves of a register
            w, axes = w.reshape(*w.shape[:-1], 2, -1), (-3, -2)
        elif longer.pairs == 4:  # two int16 lanes for each int32 lane
            w = np.moveaxis(w.reshape(*w.shape[:-1], 2, 2), -1, -4)
            axes = (-4, -3)
        else:
            axes = (-3,)
        ends = np.stack([w * end for end in activation_range])
        if ends.max(0).sum(axes).max() <= INT16_MAX and ends.min(0).sum(axes).min() >= -INT16_MAX:
            yield longer


def longest_chains(packed, activation_range, group):
    """How many links, one after the other, each int16 sum is to take: a list that adds up to all links.

    The fewest chains that provably fit; of these, those that end most often behind a multiple of `group` links. An
    empty list if a link alone does not fit.

    Parameters
    ----------
    packed : numpy.ndarray
        Weights whose last axes are (link, vector, 16 bytes), the halves of which an int16 sum takes together. Whatever
        else there is goes through the same chains.
    activation_range : (int, int)
    group : int
    """
    links, vectors, _ = packed.shape[-3:]
    w = np.moveaxis(packed.astype("int32").reshape(-1, links, vectors, 2, 8), 1, 0)
    ends = np.stack([w * end for end in activation_range])
    none = np.zeros((1, *w.shape[1:-2], 8), "int32")
    greatest, least = (
        np.concatenate([none, np.cumsum(sums.sum(-2, dtype="int32"), 0, "int32")])
        for sums in (ends.max(0), ends.min(0))
    )
    best = {0: (0, 0, [])}  # for the links before: chains, those that end within a group, their lengths
    for end in range(1, links + 1):
        found = [
            (count + 1, within + bool(end % group), [*chains, end - start])
            for start, (count, within, chains) in best.items()
            if (greatest[end] - greatest[start]).max() <= INT16_MAX and (least[end] - least[start]).min() >= -INT16_MAX
        ]
        if found:
            best[end] = min(found)
    return best[links][-1] if links in best else []


def folded_bias(weight, bias, activation_range, offset):
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


def worst_accumulators(weight, bias, activation_range):
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
    return np.maximum(ends.max(0).sum(1) + bias, -(ends.min(0).sum(1) + bias))
