"""How large a report is, and how long Chromium takes to show it, for a network of 155 convolutions.

    python benchmarks/reports/page.py
    python benchmarks/reports/page.py NET.eqtvm [NET2.eqtvm]

Without a bundle, a network of ResNet-152's form with a quarter of its channels and random weights is compiled first, on
noise. Prints the size of `bundle.json` and of the page, and the milliseconds from the start of navigation until all is
laid out, the least of five.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import eq_tvm
from eq_tvm.reporting.report import write_report

STAGES = (3, 8, 36, 3)
RUNS = 5
# Behind the page's own script: forces the layout, and says when it is done
PROBE = "<script>document.body.offsetHeight;document.title=`laid out: ${performance.now()} ms`</script>"


def main() -> None:
    """Compile, if there is nothing to show, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = [Path(path) for path in sys.argv[1:]] or [compiled(Path(folder))]
        page = Path(folder) / "report.html"
        write_report(bundles, page)
        for bundle in bundles:
            print(f"{bundle.name}/bundle.json: {(bundle / 'bundle.json').stat().st_size / 1e6:.2f} MB")
        print(f"page: {page.stat().st_size / 1e6:.2f} MB")
        page.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
        print(f"laid out after {min(milliseconds(page) for _ in range(RUNS)):.0f} ms, the least of {RUNS}")


def compiled(folder: Path) -> Path:
    """A bundle of a deep residual network."""
    path = folder / "resnet152.onnx"
    onnx.save(resnet(), path)
    np.savez(folder / "noise.npz", images=np.random.default_rng(0).random((4, 3, 224, 224), np.float32))
    options = {"calibration": folder / "noise.npz", "method": "mse+", "verify": False, "output": folder / "r.eqtvm"}
    written = eq_tvm.compile(path, **options).path
    assert written is not None
    return Path(written)


def resnet() -> onnx.ModelProto:
    """Bottlenecks of 1x1, 3x3 and 1x1 convolutions with residual sums."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    rng = np.random.default_rng(0)

    def conv(x: str, ins: int, outs: int, kernel: int, stride: int = 1, relu: bool = True) -> str:
        name = f"conv{len(nodes)}"
        scale = np.sqrt(2 / (ins * kernel**2))
        weight = (scale * rng.standard_normal((outs, ins, kernel, kernel))).astype(np.float32)
        weights.extend([numpy_helper.from_array(weight, f"{name}.w")])
        weights.extend([numpy_helper.from_array(np.zeros(outs, np.float32), f"{name}.b")])
        pads = [kernel // 2] * 4
        read = [x, f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Conv", read, [name], name, strides=[stride] * 2, pads=pads))
        if not relu:
            return name
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], f"{name}.relu"))
        return f"{name}.relu"

    x, channels = conv("x", 3, 16, 7, 4), 16
    for stage, blocks in enumerate(STAGES):
        width = 16 * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = conv(x, channels, width, 1)
            y = conv(conv(y, width, width, 3, stride), width, 4 * width, 1, relu=False)
            x = x if block else conv(x, channels, 4 * width, 1, stride, relu=False)
            nodes.append(helper.make_node("Add", [x, y], [f"{y}.sum"], f"{y}.sum"))
            nodes.append(helper.make_node("Relu", [f"{y}.sum"], [f"{y}.out"], f"{y}.out"))
            x, channels = f"{y}.out", 4 * width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["y"], "pool"))
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 224, 224])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 1, 1])]
    graph = helper.make_graph(nodes, "resnet152", ends, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def milliseconds(page: Path) -> float:
    """What the page says of itself in a fresh browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--dump-dom"]
        command = [browser, *options, f"--user-data-dir={profile}", page.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    found = re.search(r"<title>laid out: ([\d.]+) ms</title>", shown)
    assert found is not None, "the page did not say"
    return float(found[1])


if __name__ == "__main__":
    main()
