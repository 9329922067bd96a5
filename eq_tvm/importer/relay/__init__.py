"""From modules of Relay, TVM's former graph language, to ONNX models: no TVM of today reads them.

Files are read into expressions (`node_graph`: JSON, `text`), which are walked once (`to_onnx`); `operators` says what
each operator is in ONNX.
"""

from eq_tvm.importer.relay.reader import read_relay

__all__ = ["read_relay"]
