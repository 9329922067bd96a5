"""What a network's results are good for, compared with those of float32: a table of measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eq_tvm.tasks.boxes import best
from eq_tvm.tasks.decoders import DECODERS, Decoder
from shipped import boxes
from shipped.package import Shipped

Outputs = list[np.ndarray]  # each (N, ...), of N inputs


@dataclass(frozen=True)
class Score:
    """A figure, and whether it is within a point of float32 (boxes: five)."""

    text: str
    met: bool


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of all numbers; nan where one has nan."""
    a, b = a.ravel().astype("float64"), b.ravel().astype("float64")
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), np.finfo("float64").tiny))


def _boxes(decode: Decoder) -> Callable[[Outputs, Outputs, Shipped], Score]:
    """The share of float32's boxes that are found, and how many others, in parts of them."""

    def measure(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
        size = next(iter(network.shapes.values()))[2:]
        found, expected = (
            [best(decode([part[i] for part in parts], size), network.above) for i in range(len(parts[0]))]
            for parts in (ours, theirs)
        )
        pairs = sum(boxes.pairs(*both) for both in zip(found, expected, strict=True))
        count, others = sum(map(len, expected)), sum(map(len, found)) - pairs
        if not count:
            return Score(f"none expected, {others} found", not others)
        return Score(
            f"{100 * pairs / count:.1f} % of {count}, {100 * others / count:.1f} % others",
            pairs >= 0.95 * count and others <= 0.05 * count,
        )

    return measure


def _text(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Lines that are equal, decoded as of CTC: the best character of each step, once, without blanks."""

    def lines(output: np.ndarray) -> list[list[int]]:
        steps = output.argmax(axis=-1).reshape(len(output), -1)
        return [
            [int(c) for c, before in zip(line, [0, *line[:-1]], strict=True) if c and c != before] for line in steps
        ]

    return _share(
        [a == b for a, b in zip(*(lines(each[network.part]) for each in (ours, theirs)), strict=True)], "lines"
    )


def _mask(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Intersection over union of what is above a threshold."""
    a, b = (each[network.part] > network.above for each in (ours, theirs))
    union = np.count_nonzero(a | b)
    share = np.count_nonzero(a & b) / union if union else 1.0
    return Score(f"IoU {100 * share:.1f} %", share >= 0.99)


def _class(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Inputs with the same best class."""
    a, b = (each[network.part].argmax(axis=-1) for each in (ours, theirs))
    return _share(a == b, "classes")


def _decisions(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Results on the same side of a threshold."""
    return _share((ours[network.part] > network.above) == (theirs[network.part] > network.above), "decisions")


def _keypoints(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Mean distance in pixels, of all x and then all y in parts of the image."""
    away = network.pixels * (ours[network.part] - theirs[network.part])
    x, y = np.split(away.reshape(len(away), -1), 2, axis=1)
    mean = float(np.hypot(x, y).mean())
    return Score(f"{mean:.2f} pixels of {network.pixels}", mean <= 0.01 * network.pixels)


def _image(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Ratio of the peak, 1, to noise."""
    difference = np.clip(ours[network.part], 0, 1) - np.clip(theirs[network.part], 0, 1)
    decibels = -10 * np.log10(max(float(np.mean(difference**2)), 1e-12))
    return Score(f"PSNR {decibels:.1f} dB", decibels >= 40)  # the mean error is a point of the range


def _marks(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Mean difference of marks from 1 to 5."""
    mean = float(np.abs(ours[network.part] - theirs[network.part]).mean())
    return Score(f"{mean:.3f} of 1 to 5", mean <= 0.04)


def _pitch(ours: Outputs, theirs: Outputs, network: Shipped) -> Score:
    """Frames that have a pitch in one of the two, and the same within half a semitone in both."""
    (a, sure), (b, certain) = ours[:2], theirs[:2]
    voiced = (sure >= 0.5) | (certain >= 0.5)
    cents = 1200 * np.abs(np.log2(np.maximum(a, 1) / np.maximum(b, 1)))
    return _share(((cents <= 50) & (sure >= 0.5) & (certain >= 0.5))[voiced], "frames")


def _share(equal, what: str) -> Score:
    equal = np.asarray(equal)
    return Score(f"{100 * equal.mean():.1f} % of {equal.size} {what}", bool(equal.mean() >= 0.99))


TASKS: dict[str, Callable[[Outputs, Outputs, Shipped], Score]] = {
    **{f"boxes of {name}": _boxes(decode) for name, decode in DECODERS.items()},
    "text": _text,
    "mask": _mask,
    "class": _class,
    "decisions": _decisions,
    "keypoints": _keypoints,
    "image": _image,
    "marks": _marks,
    "pitch": _pitch,
}
