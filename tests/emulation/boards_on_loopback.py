"""A board on loopback, and a bundle for it."""

import loopback
import pytest
from onnx_models import write_classifier
from PIL import Image

import eq_tvm


@pytest.fixture(scope="session")
def only_board(tmp_path_factory):
    board = loopback.start(tmp_path_factory.mktemp("board"))
    yield board
    board.stop()


@pytest.fixture
def board(only_board, monkeypatch):
    """A board on which nothing is, which ssh reaches."""
    only_board.reset()
    only_board.configure()
    monkeypatch.setenv("PATH", str(only_board.client), prepend=":")
    return only_board


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    """A network of images for this machine, with an image beside it."""
    folder = tmp_path_factory.mktemp("net")
    model = write_classifier(folder / "net.onnx", "x", [1, 3, 20, 24], 10)
    Image.new("RGB", (24, 20), "orange").save(folder / "cat.png")
    return eq_tvm.compile(model, calibration="random", images=2, output=folder / "net-native.eqtvm").path
