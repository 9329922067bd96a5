"""Networks end before operators that are not part of TFLite, where only outputs are computed by these."""

from __future__ import annotations

from dataclasses import replace

from eq_tvm.importer.tflite.flatbuffer import Network


def without_postprocessing(network: Network) -> tuple[Network, str]:
    """The network without custom operators whose results are outputs and nothing else, and a note that says so.

    What they read, but for constants, are the outputs in the place of theirs. The note is empty where nothing changes.
    """
    operators, outputs, left_out = list(network.operators), list(network.outputs), []
    while len(operators) > 1 and operators[-1].custom and set(operators[-1].outputs) <= set(outputs):
        last = operators.pop()
        place = min(outputs.index(index) for index in last.outputs)
        read = [i for i in last.inputs if i >= 0 and network.tensors[i].data is None and i not in outputs]
        outputs = [index for index in outputs if index not in last.outputs]
        outputs[place:place] = read
        left_out.append(last.kind)
    if not left_out:
        return network, ""
    names = ", ".join(repr(network.tensors[index].name) for index in outputs)
    note = f"ends before {', '.join(left_out)}, which is not part of TFLite; the outputs are {names}"
    return replace(network, operators=operators, outputs=tuple(outputs)), note
