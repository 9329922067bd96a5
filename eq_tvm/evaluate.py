"""How good a network is on a set of images, and how close to its float reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm import data as datasets
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess
from eq_tvm.running.float_network import Runner, load_float
from eq_tvm.running.runtime import Board, load
from eq_tvm.scores import Scores

if TYPE_CHECKING:
    from eq_tvm.passes import Progress


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    preprocess: Preprocess | str | Path | None = None,
    reference: str | Path | None = None,
    limit: int | None = None,
    board: Board | None = None,
    progress: Progress | None = None,
) -> dict[str, float | int | None]:
    """Run a network on images and compare it with their labels and with a float reference.

    Parameters
    ----------
    model : str or Path
        A bundle, or an ONNX file, which the float engine runs (see `eq_tvm.running.float_network.float_engine`).
    data : str or Path
        What `eq_tvm.data.read` takes.
    preprocess : Preprocess or path of a YAML file, optional
        Instead of the bundle's own.
    reference : path of an ONNX file, optional
        The float network to compare with.
    limit : int, optional
        Only the first so many images.
    board : Board, optional
        Where to run the bundle instead of this machine, which runs the reference; `eq_tvm.connect` gives one.
    progress : callable (done 0..1, message), optional

    Returns
    -------
    dict
        `top1`: share of images whose highest output is the label's (None without labels, or where the first output is
        not one vector of scores). `agreement`: share of those decisions that the reference makes too; where the first
        output is a list of score vectors, over all of them. `cosine`: mean cosine similarity of all outputs to the
        reference's. Both None without a reference. `n`: the number of images.
    """
    if isinstance(preprocess, str | Path):
        preprocess = Preprocess.read(preprocess)
    dataset = datasets.read(data)
    if not _is_bundle(model) and board is not None:
        raise UserError(f"a board runs bundles only: compile {model} for it, or leave --rpc and --tracker out")
    runner: Runner = load(model, board=board) if _is_bundle(model) else load_float(model, preprocess)
    original = load_float(reference, preprocess) if reference is not None else None
    preprocess = preprocess or runner.preprocess
    if len(runner.inputs) != 1 or (original and len(original.inputs) != 1):
        raise UserError(f"{model} has {len(runner.inputs)} inputs: evaluate can run networks with one image input only")

    n = min(len(dataset), limit or len(dataset))
    scores = Scores()
    for i in range(n):
        image = dataset.input(i, runner.inputs[0].shape, preprocess)
        outputs = list(runner.run({runner.inputs[0].name: image}).values())
        expected = list(original.run({original.inputs[0].name: image}).values()) if original else None
        if expected and [e.shape for e in expected] != [o.shape for o in outputs]:
            raise UserError(f"{reference} is not the float network of {model}: its outputs have other shapes")
        scores.add(outputs, None if dataset.labels is None else dataset.labels[i], expected)
        if progress:
            progress((i + 1) / n, f"{i + 1} of {n} images")
    return scores.result()


def _is_bundle(model: str | Path) -> bool:
    if Path(model).is_dir():
        return True
    if not Path(model).exists():
        raise UserError(f"no such bundle or ONNX file: {model}")
    return False
