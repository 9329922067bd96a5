"""Files for other tools from a bundle."""

from __future__ import annotations

from pathlib import Path

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_destination, write_whole


def export(bundle: str | Path, output: str | Path | None = None) -> Path:
    """Write the quantized network of a bundle as standard ONNX.

    QuantizeLinear and DequantizeLinear with the scales that were found, weights in int8, biases in int32, ranges of
    less than 8 bits as a Clip of integers. ONNX Runtime runs it, and `eq_tvm.compile` makes the same integers of it.

    Parameters
    ----------
    bundle : path
        What `eq_tvm.compile` wrote.
    output : path, optional
        Of the ONNX file, which is replaced; by default the network's name with ``.qdq.onnx``, in the working directory.

    Raises
    ------
    UserError
        No bundle, one without such a network (says why), or the file can't be written.
    """
    output = Path(output or f"{bundles.read(bundle).model}.qdq.onnx")
    if output.suffix != ".onnx":
        raise UserError(f"{output}: the file to write must end in .onnx")
    check_destination(output)
    network = bundles.read_network(bundle)
    with system_errors(f"write {output}"):
        write_whole(output, lambda file: file.write(network))
    return output
