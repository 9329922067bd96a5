"""Attention as several exporters write it, and beside convolutions, becomes integers, and agrees with ONNX Runtime."""

import functools

import aarch64 as emulation
import attention_graphs as graphs
import hybrid_graphs as hybrids
import numpy as np
import onnxruntime
import pytest
import tvm
from interpreter import run_annotated
from onnx_models import canonical

from eq_tvm import pipeline
from eq_tvm.passes.graph.rewrite import Graph, array, operator_name
from eq_tvm.passes.islands.float_calls import float_calls
from eq_tvm.targets import get_target

NETWORKS = {
    "dynamo": graphs.network(graphs.dynamo, blocks=[True]),
    "the operator": graphs.network(graphs.attention_operator, opset=23),
    "older": graphs.network(graphs.older),
    "einsum": graphs.network(graphs.einsums),
    "tf2onnx": graphs.network(graphs.tensorflow, norm=graphs.tensorflow_norm, blocks=[True]),
    **{kind: graphs.network(graphs.masked(kind), blocks=[True]) for kind in graphs.MASKS},
    "MobileViT": hybrids.network(hybrids.mobilevit),
    "MobileViT V2": hybrids.network(hybrids.mobilevit_v2),
    "ConvNeXt": hybrids.network(
        hybrids.convnext(hybrids.channel_norm, dense=False), hybrids.convnext(hybrids.transposed_norm, dense=True)
    ),
    "ConvNeXt V2": hybrids.network(hybrids.convnext_v2),
    "Swin": hybrids.network(hybrids.swin),
    "EfficientFormer": hybrids.network(hybrids.pooling, hybrids.tokens),
    "CvT": hybrids.network(hybrids.projections),
    "learned queries": hybrids.network(hybrids.learned_queries),
    "rotary": hybrids.network(hybrids.rotary),
    "MaxViT": hybrids.network(hybrids.preactivated),
    "FastViT": hybrids.network(hybrids.difference),
    "PoolFormer": hybrids.network(hybrids.one_group, hybrids.pooling),
    "Swin V2": hybrids.network(hybrids.cosine_attention),
    "XCiT": hybrids.network(hybrids.cross_covariance),
    "YOLO11": hybrids.network(
        hybrids.channels_first(lambda w, scores: w("Softmax", scores, axis=-1)),
        hybrids.channels_first(lambda w, scores: w("Sigmoid", scores)),
    ),
    "RMS norm": hybrids.network(hybrids.rms_norm),
    "DeiT": hybrids.distilled,
}
COSINE = 0.997  # at least, of all results with float32: weights are random, ranges the largest magnitudes


def images(count, seed):
    return np.random.default_rng(seed).standard_normal((count, *graphs.IMAGE[1:])).astype("float32")


@functools.cache
def calibrated(folder, name):
    """The annotated module, and the ONNX file."""
    path = folder / "network.onnx"
    NETWORKS[name](path)
    annotated, _ = pipeline.calibrate(canonical(path), {"image": images(8, 0)}, scheme="int8", method="minmax")
    return annotated, path


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    return functools.cache(lambda name: tmp_path_factory.mktemp(name.replace(" ", "_")))


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_that_agree(folder_of, name):
    annotated, path = calibrated(folder_of(name), name)
    lowered, _ = pipeline.lower(annotated, get_target("x86"))
    assert float_calls(lowered) == {}
    executable, _ = pipeline.build(annotated, get_target("native"))
    run = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = images(4, 1)
    results = np.concatenate([run(tvm.runtime.tensor(image[None])).numpy() for image in given])
    (expected,) = run_annotated(annotated, {"image": given[:1]})
    np.testing.assert_array_equal(results[:1], expected)
    reference = np.concatenate([session.run(None, {"image": image[None]})[0] for image in given])
    cosine = (results * reference).sum() / np.linalg.norm(results) / np.linalg.norm(reference)
    assert cosine > COSINE


@pytest.mark.parametrize("name", ["-infinity", "tf2onnx", "rotary", "YOLO11"])
def test_on_a_board(aarch64, folder_of, tmp_path, name):
    annotated, _ = calibrated(folder_of(name), name)
    built, _ = pipeline.build(annotated, get_target("rpi4"))
    image = images(1, 2)
    result = aarch64.run_vm(emulation.export(built, tmp_path / "network.so"), [image])
    (expected,) = run_annotated(annotated, {"image": image})
    np.testing.assert_array_equal(result[0] if isinstance(result, list) else result, expected)


@pytest.mark.parametrize("name", ["-infinity", "-1e9", "-100", "where"])
def test_masks_leave_scores_their_range(folder_of, name):
    """They take no precision from the others, whose largest magnitude is about 4."""
    annotated, _ = calibrated(folder_of(name), name)
    (scale,) = softmax_scales(annotated)
    assert scale < 32 / 2047


def softmax_scales(annotated):
    """Of what each softmax reads."""
    graph = Graph(annotated)
    rows = [value for value in graph.values.values() if operator_name(value) == "relax.nn.softmax"]
    return [array(graph.call(value.args[0], "relax.dequantize").args[1]) for value in rows]
