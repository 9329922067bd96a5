"""How long EasyQuant takes if every candidate runs the whole network, as its authors' code does, and how long here.

Both start from the same scales, try the same candidates by the same objective, and simulate in the same numpy code; the
network's runs are counted, and those left out are taken to last as long as the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eq_tvm.passes import EASYQUANT_SHIPPED, EasyQuantCalibrate
from eq_tvm.passes.calibrate.histogram_calibration import threshold_scales
from eq_tvm.passes.calibrate.kl_calibrate import kl_threshold
from eq_tvm.passes.calibrate.layer_samples import activation_behind
from eq_tvm.passes.calibrate.scale_search import Candidates
from eq_tvm.passes.graph.network import BOUNDS, Network
from eq_tvm.passes.quantized.annotate import Scales
from eq_tvm.passes.quantized.parallel import single_threaded_blas
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.quantized.quantizers import smallest_weight_scale
from eq_tvm.passes.quantized.simulation import Simulation
from peers import machine
from peers.trained import DATA, trained


class WholeNetworkSearch:
    """What EasyQuant/tools/scale_fine_tuning.py does: each layer's weights, then each layer's input, one after another.

    A candidate is tried by running the float and the quantized network over all images. For weights, all channels of a
    layer try the candidate of one number at once, and each keeps the one of its own greatest cosine.

    Parameters
    ----------
    problem : Problem
    weights, activations : Candidates
    tries : int, optional
        Of each search, only so many candidates: scales are then of no use.

    Attributes
    ----------
    runs : int
        How often the network ran.
    all_runs : int
        How often it runs with all candidates.
    """

    def __init__(self, problem: Problem, weights: Candidates, activations: Candidates, tries: int | None = None):
        self.problem, self.weights, self.activations = problem, weights.factors[:tries], activations.factors[:tries]
        self.layers, self.runs = problem.net.layers(), 0
        self.inputs = sorted({self._group(layer) for layer in self.layers})  # what only additions read keeps its scale
        self.all_runs = len(self.layers) * weights.count + len(self.inputs) * activations.count

    def run(self) -> Scales:
        """Search all scales."""
        problem = self.problem
        self.sim = Simulation(problem, threshold_scales(problem, kl_threshold, lambda done, message: None))
        for layer in self.layers:
            self._search_weights(layer)
        for group in self.inputs:
            self._search_input(group)
        return self.sim.scales

    def _search_weights(self, layer: int) -> None:
        scales, net = self.sim.scales, self.problem.net
        smallest = smallest_weight_scale(net.bias_of(layer), scales.input_scale(net, self.problem.points, layer))
        candidates = np.maximum((scales.weights[layer] / self.weights[:, None]).astype(np.float32), smallest)
        cosines = []
        for candidate in candidates:
            scales.weights[layer] = candidate
            (of_channels,) = self._cosines([layer], by_channel=True)
            cosines.append(of_channels)
        scales.weights[layer] = np.take_along_axis(candidates, np.argmax(cosines, axis=0)[None], axis=0)[0]

    def _search_input(self, group: int) -> None:
        scales = self.sim.scales
        readers = [layer for layer in self.layers if self._group(layer) == group]
        candidates = (scales.activations[group] / self.activations).astype(np.float32)
        cosines = []
        for candidate in candidates:
            scales.activations[group] = candidate
            cosines.append(np.mean(self._cosines(readers, by_channel=False)))
        scales.activations[group] = candidates[np.argmax(cosines)]

    def _cosines(self, layers: list[int], by_channel: bool) -> list[np.ndarray]:
        """Of each layer's output, averaged over the images, with the current scales."""
        ends = {_end(self.problem.net, layer): layer for layer in layers}
        found = {}
        for i in self.sim.walk():
            if i in ends:
                found[ends[i]] = _cosine(self.sim.unquantized(i), self.sim.float(i), by_channel)
        self.runs += 1
        return [found[layer] for layer in layers]

    def _group(self, layer: int) -> int:
        return self.problem.points.scale_group_of[self.problem.net.nodes[layer].inputs[0]]


def main() -> int:
    options = _options()
    from eq_tvm import pipeline
    from eq_tvm.importer import import_onnx

    print("| | network runs | of them timed | whole network, s | here, s | ratio |\n|---|---|---|---|---|---|")
    for network in trained(options.data, options.networks, options.images):
        module = pipeline.canonicalize(import_onnx(network.task.model))
        images = {module["main"].params[0].name: np.concatenate(network.task.inputs())}
        problem = Problem.of(module, images, options.scheme, "unsigned")
        times = {"wall": ([], []), "processor": ([], [])}
        for _ in range(options.rounds):  # in turn, as others may load the machine
            search = WholeNetworkSearch(
                problem, EASYQUANT_SHIPPED["weights"], EASYQUANT_SHIPPED["activations"], options.tries
            )
            theirs = _timed(single_threaded_blas(search.run))
            calibration = EasyQuantCalibrate(images, scheme=options.scheme, **EASYQUANT_SHIPPED)
            ours = _timed(lambda calibration=calibration, module=module: calibration(module))
            for kind, (whole, here) in times.items():
                whole.append(theirs[kind] * search.all_runs / search.runs)
                here.append(ours[kind])
        for kind, (whole, here) in times.items():
            print(
                f"| {network.name}, {kind} | {search.all_runs} | {search.runs} | {min(whole):.0f} | {min(here):.1f} "
                f"| {min(whole) / min(here):.0f} |",
                flush=True,
            )
    print(f"\nleast of {options.rounds}; {options.scheme}, {options.images} images; {machine.made_with()}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    networks = ["mobilenetv2_tiny_cifar10", "resnet20_cifar10"]
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=networks, help="of those in --data")
    parser.add_argument("--tries", type=int, metavar="N", default=1, help="candidates of each search that are timed")
    parser.add_argument("--rounds", type=int, metavar="N", default=2, help="repetitions, in turn")
    parser.add_argument("--scheme", default="int7", help="as eq_tvm's option")
    parser.add_argument("--images", type=int, metavar="N", default=50, help="calibration images")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="networks, images and MANIFEST.yaml")
    return parser.parse_args()


def _timed(function: Callable[[], object]) -> dict[str, float]:
    wall, processor = time.monotonic(), time.process_time()
    function()
    return {"wall": time.monotonic() - wall, "processor": time.process_time() - processor}


def _end(net: Network, layer: int) -> int:
    """Where the cosine is taken: behind the bias and the relu or clip directly behind a layer, if there is one."""
    i = layer
    while activation_behind(net, layer) is not None and net.nodes[i].op not in BOUNDS:
        i = net.sole_user(i)
    return i


def _cosine(a: np.ndarray, b: np.ndarray, by_channel: bool) -> np.ndarray:
    """Of results (N, 1, O, ...), averaged over the images: () or (O,)."""
    a, b = (x.reshape(len(x), x.shape[2] if by_channel else 1, -1) for x in (a, b))
    dots, lengths = np.einsum("nck,nck->nc", a, b), np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2)
    cosines = np.divide(dots, lengths, out=np.zeros(dots.shape), where=lengths > 0).mean(axis=0)
    return cosines if by_channel else cosines[0]


if __name__ == "__main__":
    sys.exit(main())
