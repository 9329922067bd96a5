"""How good a network is on a set of images, and how close to its float reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, system_errors
from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess
from eq_tvm.running.float_network import Runner, load_float
from eq_tvm.running.runtime import Board, load
from eq_tvm.scores import Scores
from eq_tvm.tasks.judges import Judge, judge_for

if TYPE_CHECKING:
    from eq_tvm.passes import Progress


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    preprocess: Preprocess | str | Path | None = None,
    reference: str | Path | None = None,
    limit: int | None = None,
    task: str | None = None,
    annotations: str | Path | None = None,
    labels: str | Path | None = None,
    board: Board | None = None,
    progress: Progress | None = None,
) -> dict[str, float | int | None]:
    """Run a network on images and compare it with their labels and with a float reference.

    Parameters
    ----------
    model : str or Path
        A bundle, or an ONNX file, which the float engine runs (see `eq_tvm.running.float_network.float_engine`).
    data : str or Path
        What `Samples.read` takes. Images at the end that do not fill the network's batch are left out.
    preprocess : Preprocess or path of a YAML file, optional
        Instead of the bundle's own.
    reference : path of an ONNX file, optional
        The float network to compare with.
    limit : int, optional
        Only the first so many images.
    task : str, optional
        One of `eq_tvm.tasks.recognize.TASKS`. By default what the outputs' shapes say.
    annotations : str or Path, optional
        What is in the images: COCO's json for detectors, a directory of label images (as `read_label_image` takes them)
        for networks that segment. Both are compared with the reference otherwise.
    labels : str or Path, optional
        Names of a detector's classes, as `read_labels` takes them, by which they are found in the annotations. By
        default they are the categories in the order of their ids.
    board : Board, optional
        Where to run the bundle instead of this machine, which runs the reference; `eq_tvm.connect` gives one.
    progress : callable (done 0..1, message), optional

    Returns
    -------
    dict
        `top1`: share of images whose highest output is the label's (None without labels, or where the first output is
        not one vector of scores), and `top5`: for which that is among the five highest (None with five classes or
        fewer). `agreement`: share of those decisions that the reference makes too; where the first
        output is a list of score vectors, over all of them. `cosine`: mean cosine similarity of all outputs to the
        reference's. Both None without a reference. `n`: the number of images. For detectors, against annotations or
        else the reference's boxes, `map` and `map50`: see `average_precision`. For networks that segment `miou`.
    """
    if isinstance(preprocess, str | Path):
        preprocess = Preprocess.read(preprocess)
    bundle = bundles.read(model) if _is_bundle(model) else None
    if bundle is None and board is not None:
        raise UserError(f"a board runs bundles only: compile {model} for it, or leave --rpc and --tracker out")
    runner: Runner = load_float(model, preprocess) if bundle is None else load(bundle, board=board)
    preprocess = preprocess or runner.preprocess
    samples = Samples.read(data, runner.inputs, preprocess)
    constants = None if bundle is None else bundle.constants
    original = None if reference is None else load_float(reference, preprocess, runner.inputs, constants)
    if original and [(i.shape, i.dtype) for i in original.inputs] != [(i.shape, i.dtype) for i in runner.inputs]:
        raise UserError(f"{reference} is not the float network of {model}: its inputs have other shapes or dtypes")
    return measure(
        runner,
        samples,
        original,
        names=(str(model), str(reference)),
        limit=limit,
        task=task,
        annotations=annotations,
        labels=labels,
        progress=progress,
    )


def measure(
    runner: Runner,
    samples: Samples,
    original: Runner | None,
    *,
    names: tuple[str, str],
    limit: int | None = None,
    task: str | None = None,
    annotations: str | Path | None = None,
    labels: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, float | int | None]:
    """What `evaluate` returns, of networks that are loaded; `names` are for messages."""
    n = min(len(samples), max(1, (limit or len(samples) * samples.images_each) // samples.images_each))
    scores = Scores()
    judge: Judge | None = None
    for i in range(n):
        try:
            outputs, expected = _run(samples[i], runner, original)
            if expected and [e.shape for e in expected] != [o.shape for o in outputs.values()]:
                raise UserError(f"{names[1]} is not the float network of {names[0]}: its outputs have other shapes")
            scores.add(list(outputs.values()), samples.labels(i), expected, samples.images_each)
            if i == 0:  # float networks do not say before what their outputs are
                judge = judge_for(
                    _of_one_image(outputs, samples),
                    samples.image_size,
                    task=task,
                    annotations=annotations,
                    labels=labels,
                    has_reference=original is not None,
                )
            if judge:
                _judge(judge, samples, i, list(outputs.values()), expected)
        except UserError as e:  # such as a board that is gone, after hours
            raise UserError(f"{e}; before that, {scores.in_words()}" if i else str(e)) from e
        if progress:
            progress((i + 1) / n, f"{(i + 1) * samples.images_each} of {n * samples.images_each} images")
    samples.warn_of_raw_pixels()
    return scores.result() | (judge.result() if judge else {})


def _run(
    inputs: dict[str, np.ndarray], runner: Runner, original: Runner | None
) -> tuple[dict[str, np.ndarray], list[np.ndarray] | None]:
    """The outputs, and the reference's."""
    outputs = runner.run(inputs)
    if original is None:
        return outputs, None
    named = zip((info.name for info in original.inputs), inputs.values(), strict=True)
    ours, theirs = _with_all_rows(list(outputs.values()), list(original.run(dict(named)).values()), runner.outputs)
    return dict(zip(outputs, ours, strict=True)), theirs


def _of_one_image(outputs: dict[str, np.ndarray], samples: Samples) -> list[TensorInfo]:
    each = samples.images_each
    return [
        TensorInfo(name, (1, *output.shape[1:]) if each > 1 else output.shape, str(output.dtype))
        for name, output in outputs.items()
    ]


def _judge(
    judge: Judge, samples: Samples, index: int, outputs: list[np.ndarray], expected: list[np.ndarray] | None
) -> None:
    """Let each image of a sample be judged."""
    for k, (name, placement) in enumerate(samples.images(index)):
        ours, theirs = (
            results if results is None or samples.images_each == 1 else [result[k : k + 1] for result in results]
            for results in (outputs, expected)
        )
        assert ours is not None
        judge.add(name, placement, ours, theirs)


def _is_bundle(model: str | Path) -> bool:
    with system_errors(f"read {model}"):
        if not Path(model).exists():
            raise UserError(f"no such bundle or ONNX file: {model}")
        return Path(model).is_dir()


def _with_all_rows(
    outputs: list[np.ndarray], expected: list[np.ndarray], infos: tuple[TensorInfo, ...]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Both with as many rows where the data choose how many: what one lacks counts as 0."""
    filled = [list(outputs), list(expected)]
    for i, (info, *pair) in enumerate(zip(infos, outputs, expected, strict=False)):
        if info.rows is not None and pair[0].ndim == pair[1].ndim:
            axis = info.rows.axis
            most = max(result.shape[axis] for result in pair)
            for results, result in zip(filled, pair, strict=True):
                missing = [(0, most - n if j == axis else 0) for j, n in enumerate(result.shape)]
                results[i] = np.pad(result, missing)
    return filled[0], filled[1]
