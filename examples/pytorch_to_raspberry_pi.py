"""From a module of PyTorch to a bundle for a Raspberry Pi, and how near to PyTorch it is there.

    pip install "eq-tvm[torch]"
    python pytorch_to_raspberry_pi.py
    python pytorch_to_raspberry_pi.py --board raspberrypi.local:9090

Without a board the same network is run on this machine: its bits are the same. A board needs
`python -m tvm.exec.rpc_server --port 9090`; `python -m eq_tvm deploy torch-rpi4.eqtvm pi@raspberrypi.local` brings the
bundle there for good. Put your own module in the place of `network()`.
"""

import argparse
import sys

import numpy as np
import torch

import eq_tvm
from eq_tvm.running.runtime import Model

SHAPE = (1, 3, 64, 64)


def network() -> torch.nn.Module:
    """Three convolutions and a classifier, as they were initialized."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for channels, wider in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(channels, wider, 3, stride=2, padding=1), torch.nn.BatchNorm2d(wider)]
        layers += [torch.nn.Hardswish()]
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10)]
    return torch.nn.Sequential(*layers).eval()


def main() -> None:
    """Compile for the board, run there or here, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", metavar="HOST:PORT", help="where TVM's RPC server listens")
    parser.add_argument("--target", default="rpi4", help="(default: %(default)s)")
    given = parser.parse_args()

    module, random = network(), np.random.default_rng(0)
    inputs = random.standard_normal((40, *SHAPE[1:]), dtype=np.float32)  # your images, preprocessed
    np.savez("inputs.npz", images=inputs)
    options = {"example": torch.zeros(SHAPE), "calibration": "inputs.npz"}
    bundle = eq_tvm.compile(module, **options, target=given.target, output=f"torch-{given.target}.eqtvm")
    print(f"{bundle.path}: {bundle.library.stat().st_size:,} bytes for {bundle.target['description']}")

    if given.board:
        with eq_tvm.connect(given.board) as board:
            results = _scores(eq_tvm.load(bundle, board=board), inputs)
    else:
        here = eq_tvm.compile(module, **options, target="native", output="torch-native.eqtvm")
        results = _scores(eq_tvm.load(here), inputs)
    with torch.no_grad():
        expected = module(torch.from_numpy(inputs)).numpy()
    cosine = (results * expected).sum() / np.linalg.norm(results) / np.linalg.norm(expected)
    print(f"cosine with PyTorch's scores {'on the board' if given.board else 'here'}: {cosine:.5f}")


def _scores(model: Model, inputs: np.ndarray) -> np.ndarray:
    return np.concatenate([next(iter(model.run(each[None]).values())) for each in inputs])


if __name__ == "__main__":
    try:
        main()
    except eq_tvm.UserError as error:
        sys.exit(f"error: {error}")
