"""Commands as processes of their own, on a network that takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx_models import random, write_model

COMPILE = ("compile", "../net.onnx", "--calibration", "random", "--no-verify", "--output", "b")


def write_network(folder: Path) -> None:
    """`net.onnx`, and `images.npz` for it; commands run in a folder beside them."""
    weights = {"w": random(16, 3, 3, 3), "v": random(5, 16, 1, 1)}
    nodes = [("Conv", "x w", "a", {}), ("Relu", "a", "r", {}), ("Conv", "r v", "y", {})]
    write_model(folder / "net.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], weights)
    np.savez(folder / "images.npz", images=np.zeros((20, 8, 8, 3), np.uint8))


def start(folder: Path, command, **environment: str) -> subprocess.Popen:
    """Begin a command there."""
    return subprocess.Popen(
        [sys.executable, "-m", "eq_tvm", *map(str, command)],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
