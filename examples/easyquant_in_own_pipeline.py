"""EasyQuant in a Relax pipeline of your own: a pass of yours looks at the scales before integers are made of them.

    python easyquant_in_own_pipeline.py
    python easyquant_in_own_pipeline.py --model net.onnx --images inputs.npy

`inputs.npy` holds what the network takes, float32 (N, C, H, W).
"""

import argparse
import sys

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from eq_tvm import example, passes
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess
from eq_tvm.targets import get_target


@tvm.transform.module_pass(opt_level=0, name="CountPairs")
class CountPairs:
    """A pass of your own: behind the calibration, scales are constants of standard operators."""

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Print how many tensors were quantized; change nothing."""
        found = []
        relax.analysis.post_order_visit(
            mod["main"], lambda node: found.append(node) if _is(node, "relax.quantize") else None
        )
        scales = [scale.item() for node in found if (scale := node.args[1].value.numpy()).size == 1]
        print(f"{len(found)} quantized tensors; activations' scales from {min(scales):.4f} to {max(scales):.4f}")
        return mod


def main() -> None:
    """Read, calibrate, lower, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=example.MODEL, help="ONNX file with one input (default: digits)")
    parser.add_argument("--images", help=".npy of its inputs (default: the images of digits)")
    given = parser.parse_args()
    if given.model != example.MODEL and not given.images:
        parser.error("images of what the network takes? --images FILE.npy")
    images = np.load(given.images).astype(np.float32) if given.images else _digits()

    model = onnx.load(given.model)
    name = model.graph.input[0].name
    module = from_onnx(model, shape_dict={name: [1, *images.shape[1:]]}, keep_params_in_input=False)
    target = get_target("native")
    calibrate = passes.EasyQuantCalibrate({name: images[:20]}, scheme="int7")
    flow = [
        *passes.canonical_passes(),
        calibrate,
        CountPairs(),
        passes.LowerToInteger(target.machine),
        relax.get_pipeline("zero"),
        passes.ScheduleFallback(),
    ]
    with tvm.transform.PassContext(opt_level=3, config=passes.COMPILE_CONFIG):
        executable = tvm.compile(tvm.transform.Sequential(flow)(module), target=target.tvm_target())

    for layer in calibrate.record[:3]:
        print(f"{layer.layer}: cosine {layer.cosine_before:.5f} with the first scales, {layer.cosine_after:.5f} now")
    run = relax.VirtualMachine(executable, tvm.cpu())["main"]
    best = [int(run(tvm.runtime.tensor(image[None])).numpy().argmax()) for image in images[:10]]
    print("highest scores of the first images:", *best)


def _is(node: relax.Expr, operator: str) -> bool:
    return isinstance(node, relax.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name == operator


def _digits() -> np.ndarray:
    steps = Preprocess.read(example.PREPROCESS)
    with np.load(example.EVAL) as data:
        return np.stack([steps(image) for image in data["images"][:40]])


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
