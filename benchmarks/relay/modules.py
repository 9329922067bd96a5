"""Modules of Relay beside what a TVM that had Relay computes of them.

``save DIR`` runs under such a TVM (Python 3.6 suffices): it saves modules as JSON and text, their parameters, inputs,
and the outputs of the graph executor. ``compare DIR`` runs here: it reads them, and prints how far ONNX Runtime's
outputs are from those, in parts of the largest.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

TARGET = "llvm -mtriple=x86_64-linux-gnu"


def networks():
    """TVM's own, by name: functions that make a module and its parameters."""
    from tvm.relay import testing

    small = {"batch_size": 1, "num_classes": 10}
    return {
        "resnet18": lambda: testing.resnet.get_workload(num_layers=18, image_shape=(3, 64, 64), **small),
        "resnet18_nhwc": lambda: testing.resnet.get_workload(
            num_layers=18, image_shape=(64, 64, 3), layout="NHWC", **small
        ),
        "resnet18_3d": lambda: testing.resnet_3d.get_workload(num_layers=18, image_shape=(3, 8, 32, 32), **small),
        "mobilenet": lambda: testing.mobilenet.get_workload(image_shape=(3, 64, 64), **small),
        "mobilenet_nhwc": lambda: testing.mobilenet.get_workload(image_shape=(64, 64, 3), layout="NHWC", **small),
        "squeezenet": lambda: testing.squeezenet.get_workload(image_shape=(3, 64, 64), version="1.1", **small),
        "vgg11": lambda: testing.vgg.get_workload(image_shape=(3, 32, 32), num_layers=11, **small),
        "densenet121": lambda: testing.densenet.get_workload(batch_size=1, classes=10),
        "inception_v3": lambda: testing.inception_v3.get_workload(image_shape=(3, 299, 299), **small),
        "dcgan": lambda: testing.dcgan.get_workload(batch_size=1, oshape=(3, 64, 64)),
        "dqn": lambda: testing.dqn.get_workload(batch_size=1),
        "mlp": lambda: testing.mlp.get_workload(batch_size=1),
    }


def imported(path):
    """A module of an ONNX or TFLite file; pairs of ONNX's as operators on integers."""
    from tvm import relay

    if path.suffix == ".tflite":
        import tflite

        return relay.frontend.from_tflite(tflite.Model.GetRootAsModel(path.read_bytes(), 0))
    import onnx

    module, params = relay.frontend.from_onnx(onnx.load(str(path)), freeze_params=True)
    module = relay.transform.InferType()(relay.transform.DynamicToStatic()(module))
    return relay.transform.FakeQuantizationToInteger()(module), params


def passes():
    """Sequences of passes, by name."""
    from tvm.relay import transform as t

    return {
        "nhwc": [t.ConvertLayout({"nn.conv2d": ["NHWC", "default"]})],
        "simplified": [t.SimplifyInference(), t.FoldConstant(), t.FoldScaleAxis(), t.CanonicalizeOps()],
        "altered": [t.SimplifyInference(), t.FoldConstant(), t.AlterOpLayout(), t.FoldConstant()],
        "fused": [t.SimplifyInference(), t.AlterOpLayout(), t.FoldConstant(), t.InferType(), t.FuseOps(2)],
        "a_normal": [t.SimplifyInference(), t.InferType(), t.ToANormalForm()],
        "graph_normal": [t.SimplifyInference(), t.FuseOps(2), t.ToANormalForm(), t.ToGraphNormalForm()],
    }


def feeds_of(module, params):
    """Random inputs by name."""
    random, feeds = np.random.RandomState(0), {}
    for var in module["main"].params:
        if var.name_hint not in params:
            shape, dtype = [int(axis) for axis in var.type_annotation.shape], var.type_annotation.dtype
            whole = np.iinfo(dtype) if "int" in dtype else None
            values = random.randn(*shape) if whole is None else random.randint(whole.min, whole.max, shape)
            feeds[var.name_hint] = values.astype(dtype)
    return feeds


def executed(module, params, feeds):
    """Outputs of the graph executor."""
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    with tvm.transform.PassContext(opt_level=3):
        built = relay.build(tvm.ir.load_json(tvm.ir.save_json(module)), TARGET, params=params)
    runner = graph_executor.GraphModule(built["default"](tvm.cpu()))
    runner.run(**feeds)
    return [runner.get_output(i).numpy() for i in range(runner.get_num_outputs())]


def save(folder, files):
    """Of TVM's networks, those of files, and the first file's (else the first network) after passes."""
    import tvm
    from tvm import relay

    makers = [(path.stem, lambda path=path: imported(path)) for path in files] or list(networks().items())
    folder.mkdir(parents=True, exist_ok=True)
    for index, (name, make) in enumerate(makers):
        module, params = make()
        module = relay.transform.InferType()(module)
        feeds = feeds_of(module, params)
        outputs = executed(module, params, feeds)
        forms = {name: module}
        if not index:
            bound = relay.build_module.bind_params_by_name(module["main"], params)
            with tvm.transform.PassContext(opt_level=3), tvm.target.Target(TARGET):
                for kind, sequence in passes().items():
                    forms[name + "-" + kind] = tvm.transform.Sequential(sequence)(tvm.IRModule.from_expr(bound))
        for form, written in forms.items():
            (folder / (form + ".relay.json")).write_text(tvm.ir.save_json(written))
            (folder / (form + ".relay.txt")).write_text(written.astext())
            (folder / (form + ".params")).write_bytes(relay.save_param_dict(params))
            np.savez(str(folder / (form + ".npz")), *outputs, **feeds)
        print(name, file=sys.stderr)


def compare(folder):
    """Print a table."""
    import onnxruntime

    from eq_tvm.importer.relay import read_relay

    print("| module | outputs | differ by |\n|---|---|---|")
    for path in sorted([*folder.glob("*.relay.json"), *folder.glob("*.relay.txt")]):
        saved = np.load(folder / (path.name.rpartition(".relay.")[0] + ".npz"))
        session = onnxruntime.InferenceSession(read_relay(path).SerializeToString())
        results = session.run(None, {value.name: saved[value.name] for value in session.get_inputs()})
        worst = 0.0
        for index, result in enumerate(results):
            expected = saved[f"arr_{index}"].astype("float64")
            worst = max(worst, np.abs(result - expected).max() / max(np.abs(expected).max(), 1e-30))
        print(f"| {path.name} | {', '.join(str(result.dtype) for result in results)} | {worst:.0e} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["save", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=Path, nargs="+", default=[], help="ONNX and TFLite files, not TVM's networks")
    arguments = parser.parse_args()
    if arguments.command == "save":
        save(arguments.folder, arguments.files)
    else:
        compare(arguments.folder)


if __name__ == "__main__":
    main()
