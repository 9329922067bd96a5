"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.methods import DEFAULT as DEFAULT_METHOD
from eq_tvm.methods import HELP as METHODS_HELP

# How compile and analyze quantize.
Model = Annotated[Path | None, typer.Argument(metavar="MODEL.onnx", show_default="an embedded example")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="DATA",
        help="Typical images, to find the scales: an .npz (images), a .csv (file,label) or a directory. "
        "Or the word random: scales for measuring speed only.",
    ),
]
Pixels = Annotated[
    Path | None,
    typer.Option(
        "--preprocess", metavar="FILE", help="From pixels to the input: YAML with channels, mean, std, resize."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help=f"How the scales are found. {METHODS_HELP}",
        show_default=f"{DEFAULT_METHOD}; random: minmax",
    ),
]
ActivationRange = Annotated[
    str,
    typer.Option(
        "--activation-range",
        metavar="unsigned|symmetric",
        help="Whether what can't be negative uses a range from 0.",
    ),
]
Images = Annotated[
    int | None,
    typer.Option("--images", metavar="N", help="How many calibration images to use.", show_default="50; random: 4"),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="LAYER=int8|float",
        help="Keep a layer, as analyze names it, at a wider type than the scheme's.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=1,3,224,224", help="Shape of an input where it is dynamic."),
]

# Where run, evaluate and bench run a bundle.
Rpc = Annotated[
    str | None,
    typer.Option("--rpc", metavar="HOST:PORT", help="Run on a board, where TVM's RPC server listens there."),
]
Tracker = Annotated[
    str | None,
    typer.Option("--tracker", metavar="HOST:PORT", help="Run on a board that TVM's RPC tracker there knows."),
]
Key = Annotated[
    str | None, typer.Option("--key", metavar="NAME", help="With --tracker: the kind of board, such as rpi4.")
]
