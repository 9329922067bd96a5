"""`deploy`: a bundle on a board, by ssh."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from eq_tvm.cli.app import Json, app, examples


@app.command(
    epilog=examples(
        "deploy net-rpi4.eqtvm pi@raspberrypi.local",
        "deploy net-rpi4.eqtvm pi@192.168.0.7 --port 2222 --directory networks --image cat.jpg",
    )
)
def deploy(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    destination: Annotated[str, typer.Argument(metavar="USER@HOST", help="Or a name of ssh's configuration.")],
    port: Annotated[int | None, typer.Option(metavar="N", show_default="as ssh has it")] = None,
    directory: Annotated[str, typer.Option(metavar="DIR", help="There, relative to the home directory.")] = "eq_tvm",
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Try it on this image.", show_default="the noise that the bundle remembers"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a bundle to a board by ssh, install there what it needs, and compare what it computes with this machine."""
    from eq_tvm.cli.progress import show_progress
    from eq_tvm.deploying.deploy import deploy

    with show_progress() as progress:
        done = deploy(bundle, destination, port=port, directory=directory, image=image, progress=progress)
    if as_json:
        print(json.dumps(asdict(done)))
        return
    place = shlex.quote(os.path.normpath(done.directory))
    equal = "bit for bit" if done.equal else "but for the rounding of floats"
    print(f"board    {done.machine}: {done.architecture}, Python {done.python}")
    print(f"result   it computes what this machine does, {equal}")
    print(f"bundle   {done.directory}/{done.bundle}")
    run = f"cd {place} && .venv/bin/python -m eq_tvm bench {shlex.quote(done.bundle)}"
    print(f"next     ssh {f'-p {port} ' if port else ''}{done.machine} {shlex.quote(run)}")
