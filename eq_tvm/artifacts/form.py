"""What `bundle.json` must look like, so that whoever reads a description finds what is said of it there."""

from __future__ import annotations

from typing import Any

# A type, a list of one form, a dict of names ("?": may be left out; str: any), or a tuple of forms, any of which fits
_NUMBER = (int, float)
_TENSOR = {"name": str, "shape": [int], "dtype": str, "rows?": (None, {"axis": int, "count": str})}
_LAYER = {
    "layer": str,
    "op?": str,
    "scheme?": str,
    "lost_channels?": int,
    "steps?": {str: [_NUMBER]},
    **dict.fromkeys(["input_low?", "input_high?"], _NUMBER),
    "input_ends?": [_NUMBER],
    "input_counts?": [_NUMBER],
    "similarity?": [[_NUMBER]],
    **dict.fromkeys(["input_scale?", "input_scale_initial?", "cosine_before?", "cosine_after?"], (None, *_NUMBER)),
    **dict.fromkeys(["weight_scales?", "weight_scales_initial?"], (None, [_NUMBER])),
}
_CALIBRATION = {
    "calibrated": bool,
    "method": str,
    "refine?": str,
    "images": int,
    "synthetic?": (None, {"images": int, "batch_norms": int, "layers?": int, "noise?": [str]}),
    "source": str,
    "layers": [_LAYER],
    "kept?": (None, [{"kind": str, "layer": str, "reason": str}]),
}
_TARGET = {
    "name": str,
    "description": str,
    "architecture": str,
    "instructions": {str: _NUMBER},
    "threads": int,
    "tvm": str,
    **dict.fromkeys(["l1", "l2", "l3"], _NUMBER),
    **dict.fromkeys(["issue", "loads"], (None, *_NUMBER)),
    "attrs": [str],
    **dict.fromkeys(["triple", "cpu", "cross_compiler", "cross_package"], (None, str)),
}
_CONSIDERED = {"kernel": str, "cycles": [_NUMBER], "proofs": [[(str, *_NUMBER)]]}
_KERNEL = {
    "considered?": [_CONSIDERED],
    "left_out?": {str: str},
    **dict.fromkeys(["layer", "function", "kernel", "instruction"], str),
    **dict.fromkeys(["macs", "multiplications", "cycles", "weight_bytes", "small_weight_bytes"], _NUMBER),
}
_SAMPLE = {"inputs": str, "outputs": {str: {"sha256": str, "values": [(bool, *_NUMBER)]}}}
_FILE = {"sha256": str}
DESCRIPTION = {
    **dict.fromkeys(["model", "model_sha256", "scheme"], str),
    **dict.fromkeys(["optimize?", "not_exported?", "model_file?"], str),
    "inputs": [_TENSOR],
    "outputs": [_TENSOR],
    "preprocess": (None, dict),
    "calibration": (None, _CALIBRATION),
    "target": _TARGET,
    "versions": {str: str},
    "kernels": [_KERNEL],
    "islands?": {str: int},
    "constants?": dict,
    "sample?": (None, _SAMPLE),
    "files": {"model.so": _FILE, "network.onnx?": _FILE, "bundle.json": _FILE},
}


def misplaced(value: Any, form: Any = DESCRIPTION, at: str = "") -> str | None:
    """Where a value that was read from JSON first differs from a form, such as ``kernels[0].macs``; None: nowhere."""
    if isinstance(form, tuple):
        found = [place for each in form if (place := misplaced(value, each, at)) is not None]
        return None if len(found) < len(form) else max(found, key=len)  # of the form that fits best
    if isinstance(form, list):
        items = enumerate(value) if isinstance(value, list) else None
        inner = items and [(item, form[0], f"{at}[{i}]") for i, item in items]
    elif isinstance(form, dict):
        inner = _entries(value, form, at) if isinstance(value, dict) else None
    else:
        fits = value is None if form is None else isinstance(value, form) and (form is bool) == isinstance(value, bool)
        return None if fits else at
    if inner is None:
        return at
    return next((place for each in inner if (place := misplaced(*each)) is not None), None)


def _entries(value: dict[str, Any], form: dict[Any, Any], at: str) -> list[tuple[Any, Any, str]]:
    """The values that a form names, with their forms and places."""
    if str in form:
        return [(each, form[str], f"{at}.{name}") for name, each in value.items()]
    names = ((name.removesuffix("?"), each) for name, each in form.items() if name[-1] != "?" or name[:-1] in value)
    return [(value.get(name, ...), each, f"{at}.{name}".removeprefix(".")) for name, each in names]
