"""How good a network is on a set of images, and how close to its float reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm import host
from eq_tvm.errors import UserError
from eq_tvm.evaluating.counting import Counted, Prepared, Question, prepare
from eq_tvm.inputs.samples import Samples
from eq_tvm.preprocess import Preprocess
from eq_tvm.running.float_network import Runner
from eq_tvm.running.runtime import Board

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
    workers: int = 1,
    dask: str | None = None,
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
    workers : int
        Processes among which the images are divided. Results are the same.
    dask : str, optional
        ``HOST:PORT`` of a Dask scheduler, whose workers divide the images instead: each finds the same files under the
        same paths. Takes the package `distributed`.
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
        With labels or annotations and a reference also what that reaches: `float_top1`, `float_map` and so on.
    """
    if isinstance(preprocess, str | Path):
        preprocess = Preprocess.read(preprocess)
    question = Question(model, data, preprocess, reference, task, annotations, labels)
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    if board is not None and (workers > 1 or dask):
        raise UserError("a board runs one image at a time: leave --workers and --dask out, or --rpc and --tracker")
    if dask and workers > 1:
        raise UserError("--dask and --workers exclude each other: the scheduler knows its workers")
    prepared = prepare(question, board)
    if workers > 1 or dask:
        return _in_parts(prepared, question, workers, dask, limit, progress)
    return _measure(prepared, limit, progress)


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
    return _measure(Prepared(runner, samples, original, names, task, annotations, labels), limit, progress)


def _measure(prepared: Prepared, limit: int | None, progress: Progress | None) -> dict[str, float | int | None]:
    counted, samples = Counted(), prepared.samples
    n, each = _count(samples, limit), samples.images_each
    for i in range(n):
        try:
            counted.add(prepared, i)
        except UserError as e:  # such as a board that is gone, after hours
            raise UserError(f"{e}; before that, {counted.scores.in_words()}" if i else str(e)) from e
        if progress:
            progress((i + 1) / n, f"{(i + 1) * each} of {n * each} images")
    samples.warn_of_raw_pixels()
    return counted.result()


def _in_parts(
    prepared: Prepared,
    question: Question,
    workers: int,
    dask: str | None,
    limit: int | None,
    progress: Progress | None,
) -> dict[str, float | int | None]:
    """The same by other processes, but for the first sample, which shows here what is wrong with all."""
    from eq_tvm.evaluating import dask_workers, processes

    counted, samples = Counted(), prepared.samples
    n, each = _count(samples, limit), samples.images_each
    counted.add(prepared, 0)
    question = replace(question, threads=host.default_threads())

    def tell(done: int) -> None:
        if progress:
            progress((done + 1) / n, f"{(done + 1) * each} of {n * each} images")

    if dask:
        states = dask_workers.count(question, (1, n), dask, tell)
    else:
        states = processes.count(question, (1, n), workers, tell)
    for state in states:
        counted.join(state)
    samples.warn_of_raw_pixels()
    return counted.result()


def _count(samples: Samples, limit: int | None) -> int:
    return min(len(samples), max(1, (limit or len(samples) * samples.images_each) // samples.images_each))
