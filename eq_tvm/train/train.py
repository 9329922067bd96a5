"""Quantization-aware training, from a float network to a file of integers."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eq_tvm import example, host
from eq_tvm.errors import UserError, system_errors
from eq_tvm.exporting.qdq import to_onnx
from eq_tvm.files.whole_file import check_destination, write_whole
from eq_tvm.inputs.samples import Samples
from eq_tvm.options.option import check_values, keywords_of
from eq_tvm.options.training import TrainOptions
from eq_tvm.preprocess import Preprocess
from eq_tvm.scores import check_labels
from eq_tvm.targets import get_target
from eq_tvm.train.bits.dropbits import DropBits
from eq_tvm.train.bits.prices import prices
from eq_tvm.train.bits.widths import WIDTHS, LearnedWidths
from eq_tvm.train.bits.worth import curvatures
from eq_tvm.train.images import TrainingImages
from eq_tvm.train.network import TrainedNetwork, check_same
from eq_tvm.train.quantizers import LSQ
from eq_tvm.train.srq import SRQ
from eq_tvm.train.start import Start, start
from eq_tvm.train.steps import Penalty, decisions, descend
from eq_tvm.train.written import annotated

if TYPE_CHECKING:
    from eq_tvm.passes import Progress

_QUANTIZERS: dict[str, Callable[..., LSQ]] = {"lsq": LSQ, "srq": SRQ}
_REPORTS = 10  # in all of training
_LOOKED_AT = 1024  # images that tell what bits are worth
_SEARCH = 0.3  # of the steps: bits are learned
_STARTED, _TRAINED = 0.05, 0.99  # on the progress bar


@dataclass(frozen=True)
class Report:
    """How far training is, at some step.

    Attributes
    ----------
    epoch : float
    loss : float
        Of the steps since the report before, on average.
    agreement : float, optional
        In how many of the images that are not trained on it decides as the float network does, from 0 to 1, if an
        output is something to decide by.
    top1 : float, optional
        In how many it is right, if labels are known.
    """

    epoch: float
    loss: float
    agreement: float | None
    top1: float | None


@dataclass(frozen=True)
class Trained:
    """What training made.

    Attributes
    ----------
    path : Path
        A QDQ file: `eq_tvm.compile` makes a bundle of it that computes what was trained, integer by integer.
    network : TrainedNetwork
        The same in PyTorch.
    bits : dict of str to int
        Of each layer's weights, by its name.
    reports : list of Report
        The first one is of what training started from.
    """

    path: Path
    network: TrainedNetwork
    bits: dict[str, int]
    reports: list[Report]


@keywords_of(TrainOptions)
def train(options: TrainOptions) -> Trained:
    """Train a float network as the integers that it will compute in.

    The file is written anew at each report, so what there is lasts if training is interrupted.

    Returns
    -------
    Trained

    Raises
    ------
    UserError
        Anything wrong with what was passed, or an operator that PyTorch has no form of here.
    KeyboardInterrupt
        With what is written so far.
    """
    if options.model is None:
        options = replace(
            options,
            model=example.MODEL,
            images=options.images or example.CALIBRATION,
            preprocess=options.preprocess or example.PREPROCESS,
        )
    _check(options)
    torch.manual_seed(options.seed)
    torch.set_num_threads(host.default_threads())
    progress = options.progress or (lambda _done, _message: None)
    preprocess = options.preprocess
    preprocess = Preprocess.read(preprocess) if isinstance(preprocess, str | Path) else preprocess
    assert options.images is not None
    begun = start(
        options.model,
        options.images,
        preprocess=preprocess,
        scheme=options.scheme,
        keep=options.keep,
        progress=progress,
        example=options.example,
        input_shapes=options.input_shapes,
        constants=options.constants,
    )
    output = _destination(options, begun.name)
    progress(_STARTED / 2, "computing what the float network decides")
    samples = Samples.read(options.images, begun.inputs, preprocess)
    names = [info.name for info in begun.inputs]
    images = TrainingImages(samples, names, seed=options.seed, augment=options.augment)
    if options.labels and images.labels is None:
        raise UserError(f"{options.images} has no labels to learn from: leave out --labels")
    network = TrainedNetwork(begun.problem, begun.scales)
    check_same(network, [x[:_FEW] for x in begun.problem.inputs.values()])
    teacher = TrainedNetwork(begun.problem, begun.scales).requires_grad_(False)
    teacher.quantized = False
    training = _Training(options, begun, network, teacher, images, progress, output)
    try:
        training.run()
    except KeyboardInterrupt as e:
        raise KeyboardInterrupt(training.so_far()) from e
    except UserError as e:  # hours may have gone by: what is left of them
        raise UserError(f"{e}; {training.so_far()}") from e
    layers = begun.problem.net.layers()
    bits = {begun.problem.net.nodes[i].name: _bits(network.of_weights[str(i)].hi) for i in layers}
    return Trained(output, network, bits, training.reports)


class _Training:
    """Steps, with a report and a file every now and then."""

    def __init__(
        self,
        options: TrainOptions,
        begun: Start,
        network: TrainedNetwork,
        teacher: TrainedNetwork,
        images: TrainingImages,
        progress: Progress,
        output: Path,
    ) -> None:
        self.options, self.begun, self.output = options, begun, output
        self.network, self.teacher, self.images, self.progress = network, teacher, images, progress
        self.each = max(1, len(images.trained) // options.batch)  # steps of an epoch
        self.steps = max(1, round(options.epochs * self.each))
        self.done = 0
        self.taught = decisions(teacher, images)
        self.reports: list[Report] = []
        self.written: float | None = None  # at that epoch
        self._check_labels()
        self._as_onnx()  # what can't be written, is said before hours are spent

    def run(self) -> None:
        """All of it."""
        narrow = self._narrow_layers()
        batches = self._batches()
        self.progress(_STARTED, "the first step, for which PyTorch compiles loops")
        self._report(0.0, write=False)
        if self.options.mean_bits is not None:
            spec = get_target(self.options.target, self.options.targets_file) if self.options.target else None
            quantizer = _QUANTIZERS[self.options.quantizer]
            price = prices(self.begun, narrow, WIDTHS, spec)
            some = (inputs for inputs, _ in itertools.islice(batches, math.ceil(_LOOKED_AT / self.options.batch)))
            curved = curvatures(self.network, some, narrow)
            learned = LearnedWidths(self.network, narrow, price, self.options.mean_bits, quantizer, curved)
            self._descend(batches, max(1, round(_SEARCH * self.steps)), learned.penalty)
            learned.choose()
        elif self.options.quantizer == "srq":
            for i in self.begun.problem.net.layers():
                old = self.network.of_weights[str(i)]
                self.network.of_weights[str(i)] = SRQ(old.scale.detach(), old.lo, old.hi)
        if self.options.drop_bits:
            for i in narrow:
                self.network.of_weights[str(i)] = DropBits.of_outer_points(self.network.of_weights[str(i)])
        self._descend(batches, self.steps - self.done, None)
        if self.options.drop_bits:
            for i in narrow:
                self.network.of_weights[str(i)] = self.network.of_weights[str(i)].widest
        self._report(self.reports.pop().loss, write=True)  # of the same step, without dropped bits

    def so_far(self) -> str:
        """What there is, in words."""
        epoch = self.done / self.each
        if self.written is None:
            return f"training ended at epoch {epoch:.2f}, and wrote nothing"
        return f"training ended at epoch {epoch:.2f}: {self.output} is what it had trained at {self.written:.2f}"

    def _check_labels(self) -> None:
        """UserError for labels that are none of the classes."""
        labels, node = self.images.labels, self.network.outputs[0]
        if self.taught.shape[1] != 1:
            if self.options.labels:
                raise UserError(f"--labels is for networks with one vector of scores, not {node.shape}: leave it out")
        elif labels is not None:
            check_labels(labels.numpy(), math.prod(node.shape))

    def _narrow_layers(self) -> list[int]:
        """Those of the scheme: not the ones that are kept wider."""
        schemes = self.begun.problem.schemes
        return [i for i in self.begun.problem.net.layers() if schemes[i] == self.options.scheme]

    def _batches(self) -> Iterator[tuple[list[Tensor], Tensor | None]]:
        while True:
            for inputs, labels in self.images.epoch(self.options.batch):
                yield inputs, labels if self.options.labels else None

    def _descend(
        self, batches: Iterator[tuple[list[Tensor], Tensor | None]], steps: int, penalty: Penalty | None
    ) -> None:
        losses: list[float] = []
        for loss in descend(self.network, self.teacher, batches, steps, self.options.learning_rate, penalty):
            losses.append(loss)
            self.done += 1
            part = _STARTED + (_TRAINED - _STARTED) * self.done / self.steps
            self.progress(part, f"training: epoch {self.done / self.each:.2f}, loss {loss:.4f}")
            if self.done * _REPORTS // self.steps > (self.done - 1) * _REPORTS // self.steps:
                self._report(sum(losses) / len(losses), write=penalty is None and not self.options.drop_bits)
                losses.clear()

    def _report(self, loss: float, *, write: bool) -> None:
        found, labels = decisions(self.network, self.images), self.images.held_labels
        agreement = _share(found, self.taught)
        top1 = None if labels is None or found.shape[1] != 1 else _share(found[:, 0], labels)
        self.reports.append(Report(self.done / self.each, loss, agreement, top1))
        if write:
            content = self._as_onnx()
            with system_errors(f"write {self.output}"):
                write_whole(self.output, lambda file: file.write(content))
            self.written = self.done / self.each

    def _as_onnx(self) -> bytes:
        mod = annotated(self.begun.module, self.network, self.begun.scales.ranges)
        return to_onnx(mod, self.begun.name, self.begun.inputs, self.begun.outputs).SerializeToString()


_FEW = 4


def _share(found: Tensor, right: Tensor) -> float | None:
    return float((found == right).float().mean()) if found.numel() else None


def _bits(most: int) -> int:
    return most.bit_length() + 1


def _check(options: TrainOptions) -> None:
    """UserError for options that say nothing, or not together."""
    check_values(options)
    if options.images is None:
        raise UserError("training needs --images DATA: some hundreds of typical ones (.npz, .csv or directory)")
    for name in ("epochs", "batch", "learning_rate"):
        if not 0 < getattr(options, name) < math.inf:
            raise UserError(f"--{name.replace('_', '-')} must be a positive number, not {getattr(options, name):g}")
    if not 0 <= options.seed < 2**63:
        raise UserError(f"--seed must be a whole number from 0, not {options.seed}")
    if options.target and options.mean_bits is None:
        raise UserError("--target is what --mean-bits are paid on: leave it out, or pass both")
    if options.mean_bits is not None and not WIDTHS[0] <= options.mean_bits <= WIDTHS[-1]:
        raise UserError(f"--mean-bits must be from {WIDTHS[0]} to {WIDTHS[-1]}, not {options.mean_bits:g}")
    if options.mean_bits is not None and options.drop_bits:
        raise UserError("--mean-bits drops bits by itself: leave out --drop-bits")
    if options.target:
        get_target(options.target, options.targets_file)
    if isinstance(options.model, str | os.PathLike):
        _destination(options, Path(options.model).stem)


def _destination(options: TrainOptions, name: str) -> Path:
    """The file to write, which is no other than it may be."""
    inputs = [options.model] if isinstance(options.model, str | os.PathLike) else []
    return check_destination(options.output or f"{name}.trained.onnx", endings=(".onnx",), inputs=map(Path, inputs))
