"""Files for other tools from a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.errors import UserError, system_errors
from eq_tvm.exporting.qdq import PRODUCER
from eq_tvm.files.whole_file import check_destination, write_whole


def export(bundle: str | Path, output: str | Path | None = None) -> Path:
    """Write the quantized network of a bundle for other tools.

    As standard ONNX: QuantizeLinear and DequantizeLinear with the scales that were found, weights in int8, biases in
    int32, ranges of less than 8 bits as a Clip of integers. ONNX Runtime runs it, and `eq_tvm.compile` makes the same
    integers of it. Or for AIMET: encodings, and beside them the float network whose tensors they name.

    Parameters
    ----------
    bundle : path
        What `eq_tvm.compile` wrote.
    output : path, optional
        The file, which is replaced: ``.onnx``, or ``.encodings``, with which a new file ``.onnx`` of the same name is
        written. By default the network's name with ``.qdq.onnx``, in the working directory.

    Raises
    ------
    UserError
        No bundle, one without such a network (says why), the file can't be written, or the one beside it is there.
    """
    output = Path(output or f"{bundles.read(bundle).model}.qdq.onnx")
    if output.suffix not in _WRITERS:
        raise UserError(f"{output}: the file to write must end in {' or '.join(_WRITERS)}")
    check_destination(output)
    _check_own(output)
    beside = output.with_suffix(".onnx")
    if beside != output and beside.exists():  # it may be the network that was compiled
        raise UserError(f"{beside} would be replaced: remove it, or choose another name for {output.name}")
    for file, content in _WRITERS[output.suffix](bundles.read_network(bundle), output).items():
        _write(file, content)
    return output


def _check_own(output: Path) -> None:
    """UserError where a network is that is not from here: it may be the one that was compiled."""
    if output.suffix == ".onnx" and output.exists():
        import onnx

        try:
            producer = onnx.load(output, load_external_data=False).producer_name
        except Exception:  # whatever is there
            producer = ""
        if producer != PRODUCER:
            raise UserError(f"{output} would be replaced, which eq_tvm has not exported: choose another name")


def _write(file: Path, content: bytes) -> None:
    with system_errors(f"write {file}"):
        write_whole(file, lambda opened: opened.write(content))


def _onnx(network: bytes, output: Path) -> dict[Path, bytes]:
    return {output: network}


def _encodings(network: bytes, output: Path) -> dict[Path, bytes]:
    import onnx

    from eq_tvm.exporting.encodings import to_encodings

    floats, encodings = to_encodings(onnx.ModelProto.FromString(network))
    return {
        output.with_suffix(".onnx"): floats.SerializeToString(),
        output: json.dumps(encodings, indent=1).encode(),
    }


_WRITERS: dict[str, Callable[[bytes, Path], dict[Path, bytes]]] = {".onnx": _onnx, ".encodings": _encodings}
