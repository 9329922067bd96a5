"""What is counted of some of the samples, so that it can be joined with what is counted of others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Question:
    """What is to be evaluated, by the names of files: the parameters of `eq_tvm.evaluate.evaluate`.

    `threads` are those of the engine that runs float networks, None for its own choice. `fingerprint` is what
    `fingerprint` must find, if that is to be checked.
    """

    model: str | Path
    data: str | Path
    preprocess: Preprocess | None = None
    reference: str | Path | None = None
    task: str | None = None
    annotations: str | Path | None = None
    labels: str | Path | None = None
    threads: int | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Prepared:
    """Networks that are loaded, and their inputs; `names` of both are for messages."""

    runner: Runner
    samples: Samples
    original: Runner | None
    names: tuple[str, str]
    task: str | None = None
    annotations: str | Path | None = None
    labels: str | Path | None = None


def prepare(question: Question, board: Board | None = None) -> Prepared:
    """Load what a question names."""
    model, reference = question.model, question.reference
    if question.fingerprint and fingerprint(question) != question.fingerprint:
        raise UserError(f"{model}, {reference or 'no reference'} or {question.data} differ there from those here")
    bundle = bundles.read(model) if _is_bundle(model) else None
    if bundle is None and board is not None:
        raise UserError(f"a board runs bundles only: compile {model} for it, or leave --rpc and --tracker out")
    runner: Runner
    if bundle is None:
        runner = load_float(model, question.preprocess, threads=question.threads)
    else:
        runner = load(bundle, board=board)
    preprocess = question.preprocess or runner.preprocess
    samples = Samples.read(question.data, runner.inputs, preprocess)
    original = None
    if reference is not None:
        constants = None if bundle is None else bundle.constants
        original = load_float(reference, preprocess, runner.inputs, constants, question.threads)
    if original and [(i.shape, i.dtype) for i in original.inputs] != [(i.shape, i.dtype) for i in runner.inputs]:
        raise UserError(f"{reference} is not the float network of {model}: its inputs have other shapes or dtypes")
    names = str(model), str(reference)
    return Prepared(runner, samples, original, names, question.task, question.annotations, question.labels)


class Counted:
    """Scores of samples and what a judge says of them, which is there once the first sample is counted.

    Of the reference as well, against labels and annotations.
    """

    def __init__(self) -> None:
        self.scores, self._of_reference = Scores(), Scores()
        self._judge: Judge | None = None
        self._judge_of_reference: Judge | None = None

    def add(self, prepared: Prepared, index: int) -> None:
        """Run a sample."""
        samples, original = prepared.samples, prepared.original
        outputs, expected = _run(samples[index], prepared.runner, original)
        if expected and [e.shape for e in expected] != [o.shape for o in outputs.values()]:
            ours, theirs = prepared.names
            raise UserError(f"{theirs} is not the float network of {ours}: its outputs have other shapes")
        first = not self.scores.count
        try:
            self.scores.add(list(outputs.values()), samples.labels(index), expected, samples.images_each)
        except UserError as e:
            raise UserError(f"{samples.source}, {samples.name(index)}: {e}") from e
        if expected:
            self._of_reference.add(expected, samples.labels(index), None, samples.images_each)
        if first:  # float networks do not say before what their outputs are
            self._judge = _judge_for(prepared, outputs)
            if prepared.annotations and original:
                self._judge_of_reference = _judge_for(prepared, outputs)
        if self._judge:
            _judge(self._judge, samples, index, list(outputs.values()), expected)
        if self._judge_of_reference and expected:
            _judge(self._judge_of_reference, samples, index, expected, None)

    def state(self) -> list[Any]:
        """What `join` takes: it can be sent to another process."""
        return [each.state() if each else None for each in self._counts]

    def join(self, state: list[Any]) -> None:
        """Add what was counted of the samples that follow."""
        for mine, more in zip(self._counts, state, strict=True):
            if mine:
                mine.join(more)

    def result(self) -> dict[str, float | int | None]:
        """As `eq_tvm.evaluate.evaluate` returns it."""
        ours, theirs, judge, other = self._counts
        found = ours.result() | (judge.result() if judge else {})
        of_float = (theirs.result() if theirs.count else {}) | (other.result() if other else {})
        return found | {f"float_{key}": of_float[key] for key in _OF_FLOAT if of_float.get(key) is not None}

    @property
    def _counts(self) -> tuple[Scores, Scores, Judge | None, Judge | None]:
        return self.scores, self._of_reference, self._judge, self._judge_of_reference


_OF_FLOAT = ("top1", "top5", "map", "map50", "miou")


Part = tuple[int, int]  # the first sample, and the one behind the last


def counter(question: Question) -> Callable[[Part, Callable[[int], object]], list[Any]]:
    """A function that counts parts: of a part and a function that is told how much of it is done."""
    prepared = prepare(question)

    def count(part: Part, tell: Callable[[int], object]) -> list[Any]:
        counted = Counted()
        for index in range(*part):
            counted.add(prepared, index)
            tell(index + 1 - part[0])
        return counted.state()

    return count


def fingerprint(question: Question) -> str:
    """Of the files that a question names: of directories of images their names and sizes, else all bytes."""
    found = hashlib.sha256()
    named = (question.model, question.reference, question.data, question.annotations)
    for path in (path for path in named if path):
        with system_errors(f"read {path}"):
            files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
            for file in filter(Path.is_file, files):
                found.update(f"{file.relative_to(path) if Path(path).is_dir() else ''} {file.stat().st_size}".encode())
                if len(files) == 1 or path == question.model:
                    found.update(file.read_bytes())
    return found.hexdigest()


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


def _judge_for(prepared: Prepared, outputs: dict[str, np.ndarray]) -> Judge | None:
    return judge_for(
        _of_one_image(outputs, prepared.samples),
        prepared.samples.image_size,
        task=prepared.task,
        annotations=prepared.annotations,
        labels=prepared.labels,
        has_reference=prepared.original is not None,
    )


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
