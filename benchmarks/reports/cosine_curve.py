"""Draw docs/images/cosine.svg: how near a quantized tensor is to the float one, by its scale.

Of the embedded example, as `compile --method easyquant` remembers it: cd benchmarks; python -m reports.cosine_curve
"""

import json
import math
import tempfile
from pathlib import Path

import eq_tvm

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "cosine.svg"
LAYER = "/inverted2/expand/expand.0/Conv"
LEFT, RIGHT, TOP, BOTTOM = 90, 610, 40, 300  # of the plot
SCALES = 0.25, 1.6  # in parts of the scale by largest magnitude
LOSSES = 1e-4, 1e-1  # 1 - cosine

AXIS = "scale, in parts of the one by largest magnitude"
STYLE = """
    text { font: 15px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #334155 }
    .card { fill: #fff } .axis { stroke: #94a3b8; fill: none } .grid { stroke: #e2e8f0 }
    .curve { stroke: #2563eb; stroke-width: 2.5; fill: none } .best { fill: #dc2626 } .start { fill: #64748b }
    .strong { font-weight: 600 }
    @media (prefers-color-scheme: dark) {
      text { fill: #cbd5e1 } .card { fill: #1e293b } .grid { stroke: #334155 } .curve { stroke: #60a5fa }
      .best { fill: #f87171 } .start { fill: #94a3b8 }
    }
"""


def main() -> None:
    """Compile the example, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = eq_tvm.compile(target="x86", method="easyquant", output=f"{folder}/digits.eqtvm")
        layers = json.loads((bundle.path / "bundle.json").read_text(encoding="utf-8"))["calibration"]["layers"]
    PICTURE.write_text(draw(next(layer for layer in layers if layer["layer"] == LAYER)), encoding="utf-8")
    print(f"written: {PICTURE}")


def draw(layer: dict) -> str:
    """The picture of one layer's record."""
    curve = [(scale / layer["input_scale_initial"], 1 - cosine) for scale, cosine in layer["similarity"]]
    curve = sorted(point for point in curve if SCALES[0] <= point[0] <= SCALES[1])
    best = min(curve, key=lambda point: point[1])
    start = min(curve, key=lambda point: abs(point[0] - 1))
    points = " ".join(f"{_x(scale):.1f},{_y(loss):.1f}" for scale, loss in curve)
    grid = "".join(
        f'  <path class="grid" d="M{LEFT} {_y(10**power):.1f}H{RIGHT}"/>\n'
        f'  <text x="{LEFT - 10}" y="{_y(10**power) + 5:.1f}" text-anchor="end">{1 - 10**power:.4g}</text>\n'
        for power in range(-4, 0)
    )
    ticks = "".join(
        f'  <text x="{_x(scale):.1f}" y="{BOTTOM + 22}" text-anchor="middle">{scale:g}</text>\n'
        for scale in (0.25, 0.5, 0.75, 1, 1.25, 1.5)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" role="img">
  <title>Cosine between a tensor and its quantized form, by scale</title>
  <style>{STYLE}  </style>
  <rect class="card" width="640" height="360" rx="14"/>
{grid}{ticks}  <text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 46}" text-anchor="middle">{AXIS}</text>
  <text class="strong" x="{LEFT}" y="24">cosine to float</text>
  <path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>
  <polyline class="curve" points="{points}"/>
  <text x="{LEFT + 100}" y="{BOTTOM - 60}">saturates too much</text>
  <text x="{RIGHT - 8}" y="{_y(curve[-1][1]) + 40:.1f}" text-anchor="end">rounds too coarsely</text>
  <circle class="start" cx="{_x(start[0]):.1f}" cy="{_y(start[1]):.1f}" r="6"/>
  <text x="{_x(start[0]):.1f}" y="{_y(start[1]) + 26:.1f}" text-anchor="middle">largest magnitude</text>
  <circle class="best" cx="{_x(best[0]):.1f}" cy="{_y(best[1]):.1f}" r="6"/>
  <text class="strong" x="{_x(best[0]) - 4:.1f}" y="{_y(best[1]) - 14:.1f}" text-anchor="middle">best</text>
</svg>
"""


def _x(scale: float) -> float:
    return LEFT + (scale - SCALES[0]) / (SCALES[1] - SCALES[0]) * (RIGHT - LEFT)


def _y(loss: float) -> float:
    """Small losses are on top."""
    low, high = map(math.log10, LOSSES)
    return TOP + (math.log10(loss) - low) / (high - low) * (BOTTOM - TOP)


if __name__ == "__main__":
    main()
