"""INT7/INT8 post-training quantization and compilation of convolutional networks, on Apache TVM.

    import eq_tvm

    bundle = eq_tvm.compile("net.onnx", calibration="images/", preprocess="net.preprocess.yaml", target="native")
    outputs = eq_tvm.load(bundle).run(image)  # uint8 (H, W, 3), or the network's float32 input

    with eq_tvm.connect("raspberrypi.local:9090") as board:  # where TVM's RPC server runs
        outputs = eq_tvm.load("net-rpi4.eqtvm", board=board).run(image)

`eq_tvm.evaluate` and `eq_tvm.bench` are modules with a function of the same name. The passes are in `eq_tvm.passes`,
to be used in any flow of TVM's.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eq_tvm.errors import UserError

if TYPE_CHECKING:
    from eq_tvm.boards.session import connect
    from eq_tvm.compiler import compile
    from eq_tvm.running.runtime import load

__all__ = ["UserError", "compile", "connect", "load"]

_HOMES = {"compile": "eq_tvm.compiler", "connect": "eq_tvm.boards.session", "load": "eq_tvm.running.runtime"}
_MODULES = {"analysis", "bench", "evaluate", "passes"}


def __getattr__(name: str) -> Any:
    """Import what needs NumPy and TVM only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"eq_tvm.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
