"""Types by cost, as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from eq_tvm.quantizing.quantization import BY_COST


def types_row(types: Mapping[str, Any], scheme: str) -> str:
    """How many layers have each type, and what that costs."""
    cycles = types["cycles"]
    among = ", ".join(f"{name} {_millions(cycles[name])}" for name in ("int7", "int8"))
    cost = f"{_millions(cycles['chosen'])} cycles of one core by estimate (everywhere {among})"
    if not (layers := types.get("layers")):
        return f"{scheme} everywhere: {cost}"
    counts = Counter(row["type"] for row in layers).most_common()
    said = ", ".join(f"{name} in {count}" for name, count in counts)
    return f"{said} layer{'s' * (counts[-1][1] != 1)}: {cost}, error of the outputs {types['error']:.1e}"


def types_table(types: Mapping[str, Any]) -> str:
    """The type of each layer, its cycles and its part in the outputs' error; nothing where all have one."""
    if not (layers := types.get("layers")):
        return ""
    width = max(len(row["layer"]) for row in layers)
    lines = [f"{'layer':{width}}  {'type':5} {'cycles':>12} {'error':>8}"]
    lines += [
        f"{row['layer']:{width}}  {row['type']:5} {row['cycles']:12,.0f} {row['error']:8.1e}".rstrip() for row in layers
    ]
    return "\n".join(lines)


def others_kept(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of a calibration's record, layers of another type than the scheme's for another reason than their cost."""
    return [row for row in record["kept"] if row["reason"] != BY_COST]


def _millions(cycles: float) -> str:
    return f"{cycles / 1e6:.3g} M"
