"""One archive with all that a board needs: the bundle, eq_tvm's wheel, what to install with it, and how."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts import directory
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.deploying import wheel
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, write_whole
from eq_tvm.targets import has_tvm

REQUIREMENTS = "requirements.txt"
README = "README.txt"
ENDING = ".tar.gz"
TIME = 315532800  # of all files: 1980-01-01, as in the wheel

_README = """\
{model} ({scheme}) for {target}: {description}.

It takes Python 3.10 or later (Debian: python3 and python3-venv). Install, in this directory:

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt

Check that it computes here what it computed when it was compiled, and run it:

    .venv/bin/python -m eq_tvm verify {bundle}
    .venv/bin/python -m eq_tvm run {bundle} --input IMAGE

{requirements} names the versions that it was packed with. Where pip has none of them for this Python,
.venv/bin/pip install {wheel} takes others that fit; integer results stay the same.
"""


@dataclass(frozen=True)
class Packed:
    """What a board gets.

    Attributes
    ----------
    bundle : Bundle
    name : str
        Of the bundle's directory.
    files : dict from str to bytes
        By their paths; those of the bundle are in a directory of its name.
    """

    bundle: Bundle
    name: str
    files: dict[str, bytes]

    def archive(self, folder: str = "") -> bytes:
        """As a gzipped tar, with all files in `folder`: the same bytes for the same files."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as whole:
            for path, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(str(Path(folder, path)))
                entry.size, entry.mtime, entry.mode = len(content), TIME, 0o644
                whole.addfile(entry, io.BytesIO(content))
        return gzip.compress(tar.getvalue(), compresslevel=6, mtime=0)


def collect(path: str | Path) -> Packed:
    """Everything for a bundle.

    Raises
    ------
    UserError
        It is no bundle, or is altered, or TVM has no packages for its target.
    """
    path = Path(path)

    def read() -> tuple[Bundle, dict[str, bytes]]:
        bundle = bundles.read(path)
        if not bundle.not_exported:
            bundles.read_network(path)
        files = [bundles.LIBRARY, bundles.DESCRIPTION, *([] if bundle.not_exported else [bundles.NETWORK])]
        return bundle, {name: (path / name).read_bytes() for name in files}

    with system_errors(f"read {path}"):
        bundle, files = directory.in_one_piece(path, read)
    target = bundle.target
    if not has_tvm(target):
        raise UserError(
            f"the bundle {path} is for {target['name']}, for which TVM has no packages: compile it with "
            "--artifact standalone, which needs none"
        )
    name = path.resolve().name
    wheel_name, content = wheel.wheel()
    text = _README.format(
        model=bundle.model,
        scheme=bundle.scheme,
        target=target["name"],
        description=target["description"],
        bundle=name,
        wheel=wheel_name,
        requirements=REQUIREMENTS,
    )
    return Packed(
        bundle,
        name,
        {
            **{f"{name}/{file}": content for file, content in files.items()},
            wheel_name: content,
            REQUIREMENTS: "\n".join([*wheel.requirements(), f"./{wheel_name}", ""]).encode(),
            README: text.encode(),
        },
    )


def pack(bundle: str | Path, output: str | Path | None = None) -> Path:
    """Write the archive of a bundle; two of the same bundle and eq_tvm are equal.

    Parameters
    ----------
    bundle : str or Path
    output : str or Path, optional
        By default the bundle's name with ``.tar.gz``, in the working directory.

    Raises
    ------
    UserError
        As `collect`, or the archive can't be written.
    """
    name = Path(bundle).resolve().name.removesuffix(".eqtvm")
    output = Path(output or f"{name}{ENDING}")
    if not output.name.endswith((ENDING, ".tgz")):
        raise UserError(f"--output must end with {ENDING}, not {output}")
    output = check_destination(output)
    archive = collect(bundle).archive(name)
    with system_errors(f"write {output}"):
        write_whole(output, lambda file: file.write(archive))
    return output
