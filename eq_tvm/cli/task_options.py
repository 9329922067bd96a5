"""Options that say what a network's outputs mean."""

from typing import Annotated

import typer

Labels = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|imagenet|coco", help="Names of the classes: a text file with one a line, or a known list."
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="yolo, yolox, picodet, ssd, centerface, boxes, classify or segment.",
        show_default="what the outputs' shapes say",
    ),
]
