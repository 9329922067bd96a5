"""Calibration images that are made from the network itself, where nobody has typical ones, or only a few."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import counted
from eq_tvm.inputs.synthetic_inputs import noise_of, places, save_images, synthetic_inputs
from eq_tvm.preprocess import Preprocess

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import Progress

SYNTHETIC = "synthetic"  # instead of images


def synthesize(
    module: tvm.IRModule,
    inputs: Sequence[TensorInfo],
    preprocess: Preprocess | None,
    count: int,
    folder: str | Path | None,
    progress: Progress,
    typical: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """So many samples of each input, as `read_images` gives them; the same ones each time.

    Drawn by a program, and then changed until the network sees in them what its batch norms saw in training, or, if it
    has none, what it sees in the typical ones. Written to a folder, if there is one, for people to look at.
    """
    from eq_tvm.passes import match_statistics

    progress(0.0, f"drawing {counted(count, 'image')}")
    drawn = synthetic_inputs(inputs, preprocess, count)
    if folder is not None:
        places(drawn, folder)  # what is wrong there is said before minutes are spent
    if any(each.form.layout and each.bounds is None for each in drawn):
        warnings.warn(
            "synthetic images have about mean 0 and deviation 1, as nothing says what pixels become: say how the "
            "network was trained by --preprocess FILE",
            stacklevel=3,
        )
    if noise := noise_of(inputs, preprocess):
        remedy = "pass typical ones by --calibration DATA (.npz)" if typical is None else "leave out --synthesize"
        warnings.warn(
            f"nothing says what is typical of {', '.join(noise)}, so that synthetic inputs are noise there: {remedy}",
            stacklevel=3,
        )
    names = [param.name for param in module["main"].params]
    bounds = {name: each.bounds for name, each in zip(names, drawn, strict=True) if each.bounds is not None}
    images = dict(zip(names, (each.array for each in drawn), strict=True))
    given = None if typical is None else dict(zip(names, typical, strict=True))
    matched = match_statistics(module, images, bounds, progress, given)
    drawn = [each.with_array(matched[name]) for name, each in zip(names, drawn, strict=True)]
    if folder is not None:
        save_images(drawn, folder)
    return [each.array for each in drawn]


def record(
    module: tvm.IRModule, samples: int, images_each: int, noise: Sequence[str] = (), *, beside_typical: bool
) -> dict[str, Any]:
    """What a bundle says of them: how many they are, and how many batch norms or layers they were matched to.

    Parameters
    ----------
    noise : sequence of str
        The inputs of which nothing is known.
    """
    from eq_tvm.passes import matched_layers, matched_norms

    norms = matched_norms(module, samples)
    layers = matched_layers(module, samples) if beside_typical and not norms else 0
    return {"images": samples * images_each, "batch_norms": norms, "layers": layers, "noise": [*noise]}


def images_said(calibration: Mapping[str, Any]) -> str:
    """In words on what images scales rest, of a bundle's record of calibration, and what to expect of them."""
    images, synthetic = calibration["images"], calibration.get("synthetic")
    if not synthetic:
        return f"{counted(images, 'image')} of {calibration['source']}"
    made, norms = counted(synthetic["images"], "synthetic image"), synthetic["batch_norms"]
    real = images - synthetic["images"]
    typical = f"{counted(real, 'image')} of {calibration['source']} and "
    if synthetic.get("layers"):
        return f"{typical}{made}, matched to these"
    made += f", matched to {counted(norms, 'batch norm')}" if norms else ", as drawn, matched to no batch norms"
    if noise := synthetic.get("noise"):
        made += f", and noise for {', '.join(noise)}"
    return typical + made if real else f"{made}: {_UNKNOWN if noise else _EXPECTED[norms > 0]}"


# Points of agreement with float32, by docs/accuracy.md
_EXPECTED = {
    True: "expect about as much as of typical images",
    False: "typical images may win 1 or 2 points of agreement",
}
_UNKNOWN = "typical inputs may win much"
