"""A search for an order of channels in which longer sums of their products fit 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eq_tvm.schedules.common.overflow import INT16_MAX

_TRIES, _ROUNDS = 32, 12  # exchanges that are to halve what is beyond 16 bits, and how often at most
_WORK = 2**17  # numbers that are looked at for each


@dataclass
class Reader:
    """A layer that adds up channels, some of which may be exchanged.

    Attributes
    ----------
    products : numpy.ndarray (2, K, rows) int32
        Of each channel that it reads, for each of its weights: the greatest product, and the least one's negative.
    places : numpy.ndarray (C,) int
        Where those that may be exchanged stand among them.
    lanes : list of numpy.ndarray (taps, K) int
        For sums of each length, the shortest first: to which of them each place is added. Where that is not the same
        for all columns of a kernel there are as many taps, and rows are theirs in turn.
    """

    products: np.ndarray
    places: np.ndarray
    lanes: list[np.ndarray]


def better_order(readers: Sequence[Reader]) -> np.ndarray | None:
    """Which of the channels is to stand at each place; None where nothing is to gain or nothing was found.

    Exchanges are tried at random, the same ones in every run, where a sum reaches furthest beyond 16 bits. Sums that
    fit go on to fit, and shorter ones go before longer ones.
    """
    rng = np.random.default_rng(0)
    best = start = np.arange(len(readers[0].places))
    held: list[_Sums] = []
    left, length = list(readers), 0
    while left := [reader for reader in left if len(reader.lanes) > length]:
        now = [_Sums(reader, length, best) for reader in left]
        kept = [*held, *(sums for sums in now if sums.fit)]
        order = _search(best, kept, [sums for sums in now if not sums.fit and sums.may_fit], rng)
        if order is not None:
            best = order
            held = [_Sums(sums.reader, sums.length, best) for sums in held]
            now = [_Sums(reader, length, best) for reader in left]
        fitting = [sums for sums in now if sums.fit]
        held += fitting
        left, length = [sums.reader for sums in fitting], length + 1
    return None if best is start else best


def _search(
    start: np.ndarray, kept: Sequence[_Sums], wanted: Sequence[_Sums], rng: np.random.Generator
) -> np.ndarray | None:
    """An order in which what is kept still fits, and of what is wanted something does; None if none was found."""
    order, tried = start.copy(), [*kept, *wanted]
    pairs = int(np.clip(_WORK // max(1, sum(sums.rows for sums in tried)), 8, 256))
    before = np.inf
    for done in range(_TRIES * _ROUNDS if wanted else 0):
        worst = max(tried, key=lambda sums: sums.beyond.max())
        if done % _TRIES == 0:
            left = sum(int(sums.beyond.sum()) for sums in tried)
            if left > before / 2:
                break
            before = left
        if worst.fit:
            break
        a, b = rng.choice(worst.largest(), pairs), rng.integers(0, len(order), pairs)
        gain = np.sum([sums.change(a, b) for sums in tried], axis=0)
        best = int(np.argmin(gain))
        if gain[best] < 0:
            for sums in tried:
                sums.exchange(a[best], b[best])
            order[[a[best], b[best]]] = order[[b[best], a[best]]]
    return order if all(sums.fit for sums in kept) and any(sums.fit for sums in wanted) else None


class _Sums:
    """What a reader's sums of one length reach at most, where channels may be exchanged, and how far beyond 16 bits."""

    def __init__(self, reader: Reader, length: int, order: np.ndarray) -> None:
        self.reader, self.length = reader, length
        lanes = reader.lanes[length]
        moved = np.arange(lanes.shape[1])
        moved[reader.places] = reader.places[order]
        inside = np.isin(lanes, lanes[:, reader.places]).any(axis=0)
        self._places = np.cumsum(inside)[reader.places] - 1
        self._lanes = np.unique(lanes[:, inside], return_inverse=True)[1].reshape(len(lanes), -1)
        products = reader.products[:, moved[inside]]
        by_tap = products.reshape(*products.shape[:2], -1, len(lanes)).transpose(3, 1, 0, 2)
        self._products = np.ascontiguousarray(by_tap)  # (taps, K, 2, rows of a tap)
        by_lane = np.argsort(self._lanes, axis=None, kind="stable")
        starts = np.flatnonzero(np.diff(self._lanes.ravel()[by_lane], prepend=-1))
        flat = self._products.reshape(-1, *self._products.shape[2:])
        self._sums = np.add.reduceat(flat[by_lane], starts)  # (lanes, 2, rows of a tap)
        # Another tap's may have none of those that may be exchanged: what they reach is not for this search.
        self._moving = np.isin(np.arange(len(starts)), self._lanes[:, self._places])
        self._sums[~self._moving] = 0
        self.beyond = _beyond(self._sums)  # (lanes,)

    @property
    def rows(self) -> int:
        return self.reader.products.shape[2]

    @property
    def fit(self) -> bool:
        return not self.beyond.any()

    @property
    def may_fit(self) -> bool:
        """Whether each row would fit if all of its sums were the same."""
        return bool(self._sums[self._moving].mean(axis=0).max() <= INT16_MAX)

    def largest(self) -> np.ndarray:
        """The channels that are added to the sums furthest beyond."""
        return np.flatnonzero((self._lanes[:, self._places] == self.beyond.argmax()).any(axis=0))

    def change(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How much more is beyond if the channels at a[k] and b[k] are exchanged, for each k: tap by tap."""
        at_a, at_b, more_beyond = self._places[a], self._places[b], np.zeros(len(a), np.int64)
        for lanes, products in zip(self._lanes, self._products, strict=True):
            to_a, to_b, more = lanes[at_a], lanes[at_b], products[at_b] - products[at_a]
            after = _beyond(self._sums[to_a] + more) + _beyond(self._sums[to_b] - more)
            more_beyond += np.where(to_a == to_b, 0, after - self.beyond[to_a] - self.beyond[to_b])
        return more_beyond

    def exchange(self, a: int, b: int) -> None:
        at = self._places[[a, b]]
        for lanes, products in zip(self._lanes, self._products, strict=True):
            to, more = lanes[at], products[at[1]] - products[at[0]]
            self._sums[to[0]] += more
            self._sums[to[1]] -= more
            products[at] = products[at[::-1]]
        changed = np.unique(self._lanes[:, at])
        self.beyond[changed] = _beyond(self._sums[changed])


def _beyond(sums: np.ndarray) -> np.ndarray:
    """(lanes,) of (lanes, 2, rows): by how much all rows together are beyond 16 bits."""
    return np.maximum(sums - INT16_MAX, 0).sum(axis=(1, 2))
