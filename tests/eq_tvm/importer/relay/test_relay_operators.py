"""What each operator of Relay is in ONNX computes what numpy does."""

import numpy as np
import pytest
from onnx_models import random
from relay_runs import read_text, run_body, typed

from eq_tvm.errors import UserError

X = random(2, 4, 5, 6)
V = random(4, seed=1)
C = V[:, None, None]  # along the channels
I = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)  # noqa: E741


def nchw(array):
    return array.transpose(0, 3, 1, 2)


def windows(x, size, stride):
    """(N, C, H, W, size, size)"""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    return view[:, :, ::stride, ::stride]


def padded(x, fill=0, width=1):
    return np.pad(x, [(0, 0), (0, 0), (width, width), (width, width)], constant_values=fill)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


ELEMENTWISE = [
    ("nn.relu(%a)", np.maximum(X, 0)),
    ("nn.leaky_relu(%a, alpha=0.1f)", np.where(X > 0, X, 0.1 * X)),
    ("nn.leaky_relu(%a)", np.where(X > 0, X, 0.25 * X)),
    ("clip(%a, a_min=-0.5f, a_max=0.25f)", np.clip(X, -0.5, 0.25)),
    ("sigmoid(%a)", 1 / (1 + np.exp(-X))),
    ("rsqrt(exp(%a))", np.exp(-X / 2)),
    ("log2(exp(%a))", X / np.log(2)),
    (
        "round(multiply(floor(multiply(%a, 3f)), 0.5f))",
        np.trunc(np.floor(X * 3) / 2 + np.copysign(0.5, np.floor(X * 3))),
    ),
    ("trunc(multiply(%a, 3f))", np.trunc(X * 3)),
    ("floor_mod(%a, 0.7f)", np.mod(X, np.float32(0.7))),
    ("mod(%a, 0.7f)", np.fmod(X, np.float32(0.7))),
    ("floor_divide(%a, 0.3f)", np.floor(X / np.float32(0.3))),
    ("where(greater(%a, 0f), %a, 1f)", np.where(X > 0, X, 1)),
    ("not_equal(%a, %a)", np.zeros(X.shape, bool)),
    ('cast(%a, dtype="int32")', X.astype(np.int32)),
    ("nn.softmax(%a, axis=1)", softmax(X, 1)),
    ("nn.log_softmax(%a)", np.log(softmax(X, -1))),
    ("annotation.stop_fusion(copy(%a))", X),
    ("%0 = nn.dropout(%a, rate=0.3f); %0.0", X),
    ("isfinite(log(%a))", np.isfinite(np.log(np.where(X > 0, X, np.nan)))),
]

SHAPES = [
    ("transpose(%a, axes=[0, 2, 3, 1])", X.transpose(0, 2, 3, 1)),
    ("transpose(%a)", X.T),
    ("nn.batch_flatten(%a)", X.reshape(2, -1)),
    ("squeeze(expand_dims(%a, axis=1, num_newaxis=2), axis=[2])", X[:, None]),
    ("squeeze(expand_dims(%a, axis=-1))", X),
    ("concatenate((%a, exp(%a)), axis=1)", np.concatenate([X, np.exp(X)], 1)),
    ("stack((%a, exp(%a)), axis=-1)", np.stack([X, np.exp(X)], -1)),
    ("%0 = split(%a, indices_or_sections=2, axis=1); subtract(%0.0, %0.1)", X[:, :2] - X[:, 2:]),
    ("%0 = split(%a, indices_or_sections=[1, 4], axis=2); %0.1", X[:, :, 1:4]),
    ("strided_slice(%a, begin=[0, 1], end=[2, 4], strides=[1, 2])", X[:, 1:4:2]),
    ("strided_slice(%a, begin=[3], end=[-10], strides=[-1], axes=[1])", X[:, ::-1]),
    ('strided_slice(%a, begin=[0, 1], end=[-1, 2], slice_mode="size")', X[:, 1:3]),
    ("take(%a, 9, axis=1)", X[:, 3]),
    ("reverse(%a, axis=3)", X[..., ::-1]),
    ("repeat(%a, repeats=2, axis=1)", X.repeat(2, 1)),
    ("tile(%a, reps=[3, 1, 1, 1, 2])", np.tile(X, (3, 1, 1, 1, 2))),
    (
        "nn.pad(%a, 1.5f, pad_width=[[0, 0], [0, 0], [1, 2], [0, 3]])",
        np.pad(X, [(0, 0), (0, 0), (1, 2), (0, 3)], constant_values=1.5),
    ),
    ("nn.pad(%a, pad_value=2f, pad_width=[[0, 0], [0, 0], [1, 1], [1, 1]])", padded(X, 2)),
    (
        'nn.pad(%a, 0, pad_width=[[0, 0], [0, 0], [1, 1], [1, 1]], pad_mode="edge")',
        np.pad(X, [(0, 0), (0, 0), (1, 1), (1, 1)], "edge"),
    ),
    ('layout_transform(%a, src_layout="NCHW", dst_layout="NCHW2c")', X.reshape(2, 2, 2, 5, 6).transpose(0, 1, 3, 4, 2)),
    (
        "nn.depth_to_space(%a, block_size=2)",
        X.reshape(2, 2, 2, 1, 5, 6).transpose(0, 3, 4, 1, 5, 2).reshape(2, 1, 10, 12),
    ),
    (
        "%0 = nn.space_to_batch_nd(%a, block_shape=[2, 3], paddings=[[0, 0], [1, 0]]);"
        "nn.batch_to_space_nd(%0, block_shape=[2, 3], crops=[[0, 0], [1, 0]])",
        X,
    ),
    ('slice_like(%a, zeros(shape=[1, 2, 3, 4], dtype="float32"))', X[:1, :2, :3, :4]),
    ('add(full(2f, shape=[6], dtype="float32"), ones_like(%a))', np.full(X.shape, 3.0)),
    ("broadcast_to(strided_slice(%a, begin=[0], end=[1]), shape=[3, 4, 5, 6])", np.broadcast_to(X[:1], (3, 4, 5, 6))),
]

REDUCTIONS = [
    ("sum(%a, axis=[1, -1])", X.sum((1, 3))),
    ("sum(%a, axis=[1], exclude=True)", X.sum((0, 2, 3))),
    ("mean(%a, axis=[2, 3], keepdims=True)", X.mean((2, 3), keepdims=True)),
    ("max(%a)", X.max()),
    ("prod(%a, axis=[0])", X.prod(0)),
    ("variance(%a, mean(%a, axis=[1], keepdims=True), axis=[1])", X.var(1)),
    ("argmax(%a, axis=[1])", X.argmax(1).astype(np.int32)),
    ("argmin(%a, keepdims=True, axis=[2, 3])", X.reshape(2, 4, -1).argmin(2).reshape(2, 4, 1, 1).astype(np.int32)),
    ("all(greater(%a, -1f), axis=[0])", (X > -1).all(0)),
    ("cumsum(%a, axis=1)", X.cumsum(1)),
    ("%0 = topk(%a, k=2, axis=3); %0.0", -np.sort(-X, 3)[..., :2]),
    ('argsort(%a, axis=3, dtype="int32")', X.argsort(3).astype(np.int32)),
]

POOLS = [
    ("nn.max_pool2d(%a, pool_size=[2, 2], strides=[2, 2])", windows(X, 2, 2).max((4, 5))),
    (
        "nn.max_pool2d(%a, pool_size=[2, 2], strides=[2, 2], ceil_mode=True)",
        windows(np.pad(X, [(0, 0), (0, 0), (0, 1), (0, 0)], constant_values=-9), 2, 2).max((4, 5)),
    ),
    ("nn.max_pool2d(%a, pool_size=[3, 3], padding=[1, 1, 1, 1])", windows(padded(X, -9), 3, 1).max((4, 5))),
    (
        "nn.avg_pool2d(%a, pool_size=[3, 3], padding=[1, 1], count_include_pad=True)",
        windows(padded(X), 3, 1).mean((4, 5)),
    ),
    ("nn.avg_pool2d(%a, pool_size=[3, 3], padding=[1, 1])", np.nanmean(windows(padded(X, np.nan), 3, 1), (4, 5))),
    ('nn.max_pool2d(%a, pool_size=[1, 2], layout="NHWC")', np.maximum(X[:, :, :-1], X[:, :, 1:])),
    ('nn.global_avg_pool2d(%a, layout="NHWC")', X.mean((1, 2), keepdims=True)),
    ("nn.adaptive_avg_pool2d(%a, output_size=[5, 2])", X.reshape(2, 4, 5, 2, 3).mean(4)),
    (
        "nn.adaptive_avg_pool2d(%a, output_size=[2, 1])",
        np.stack([X[:, :, :3].mean((2, 3)), X[:, :, 2:].mean((2, 3))], 2)[..., None],
    ),
    ("nn.adaptive_max_pool2d(%a, output_size=[1])", X.max((2, 3), keepdims=True)),
]

WITH_VECTOR = [
    ("nn.bias_add(%a, %b)", X + C),
    ("nn.prelu(%a, %b)", np.where(X > 0, X, X * C)),
    (
        "%0 = nn.batch_norm(%a, %b, %b, %b, exp(%b), epsilon=0.1f); %0.0",
        (X - C) / np.sqrt(np.exp(V) + 0.1)[:, None, None] * C + C,
    ),
    (
        "%0 = nn.batch_norm(%a, %b, %b, %b, exp(%b), center=False, scale=False); %0.0",
        (X - C) / np.sqrt(np.exp(V) + 1e-5)[:, None, None],
    ),
    (
        "nn.layer_norm(%a, %b, %b, axis=1)",
        (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5) * C + C,
    ),
    ("nn.l2_normalize(%a, eps=0.01f, axis=[1])", X / np.sqrt(np.maximum((X * X).sum(1, keepdims=True), 0.01))),
]

INTEGERS = [
    ("divide(%a, 5)", np.trunc(I / 5).astype(np.int32)),
    ("floor_divide(%a, 5)", I // 5),
    ("mod(%a, 5)", np.fmod(I, 5)),
    ("floor_mod(%a, 5)", np.mod(I, 5)),
    ("left_shift(%a, 3)", I << 3),
    ("right_shift(%a, 1)", I >> 1),
    ("clip(%a, a_min=-2f, a_max=1e10f)", np.clip(I, -2, None)),
    ("nn.relu(%a)", np.maximum(I, 0)),
    ("mean(%a, axis=[1])", np.trunc(I.mean(1)).astype(np.int32)),
    ("take(negative(%a), %a, axis=1)", -I[:, np.clip(I, 0, 3)]),
    ('take(%a, %a, axis=1, mode="wrap")', I[:, I % 4]),
    ('one_hot(nn.relu(%a), 1f, 0f, depth=6, axis=-1, dtype="float32")', np.eye(6, dtype="f4")[np.maximum(I, 0)]),
]


@pytest.mark.parametrize("body,expected", ELEMENTWISE + SHAPES + REDUCTIONS + POOLS)
def test_of_one_tensor(tmp_path, body, expected):
    check(run_body(tmp_path, body, X), expected)


@pytest.mark.parametrize("body,expected", WITH_VECTOR)
def test_with_a_vector(tmp_path, body, expected):
    check(run_body(tmp_path, body, X, V), expected)


@pytest.mark.parametrize("body,expected", INTEGERS)
def test_of_integers(tmp_path, body, expected):
    (got,) = run_body(tmp_path, body, I)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def check(results, expected):
    assert results[0].shape == np.shape(expected)
    assert results[0].dtype.kind == np.asarray(expected).dtype.kind
    np.testing.assert_allclose(results[0], expected, rtol=2e-5, atol=2e-6)


def convolved(x, w, groups=1):
    """Padded by one on each side; NCHW, OIHW."""
    out = []
    for o in range(len(w)):
        begin = o // (len(w) // groups) * w.shape[1]
        part = np.lib.stride_tricks.sliding_window_view(padded(x)[:, begin : begin + w.shape[1]], (3, 3), (2, 3))
        out.append((part * w[o][:, None, None]).sum((1, 4, 5)))
    return np.stack(out, 1)


@pytest.mark.parametrize(
    "data,kernel,attributes,groups",
    [
        ("NCHW", "OIHW", "", 1),
        ("NCHW", "OIHW", "groups=2, ", 2),
        ("NHWC", "HWIO", 'data_layout="NHWC", kernel_layout="HWIO", ', 1),
        ("NHWC", "OHWI", 'data_layout="NHWC", kernel_layout="OHWI", ', 1),
        ("NHWC", "HWOI", 'data_layout="NHWC", kernel_layout="HWOI", groups=4, ', 4),
        ("NCHW", "OIHW", 'out_layout="NHWC", ', 1),
    ],
)
@pytest.mark.parametrize("padding", ["[1, 1, 1, 1]", "[1, 1]", "[1]"])
def test_convolutions(tmp_path, data, kernel, attributes, groups, padding):
    w = random(8, 4 // groups, 3, 3, seed=2)
    x = np.ascontiguousarray(X.transpose(["NCHW".index(axis) for axis in data]))
    stored = np.ascontiguousarray(w.transpose(["OIHW".index(axis) for axis in kernel]))
    body = f"nn.conv2d(%a, %b, {attributes}padding={padding}, channels=8, kernel_size=[3, 3])"
    expected = convolved(X, w, groups)
    channels_last = data == "NHWC" or "out_layout" in attributes
    check(run_body(tmp_path, body, x, stored), expected.transpose(0, 2, 3, 1) if channels_last else expected)


def test_depthwise_weights_with_a_multiplier(tmp_path):
    """HWOI is (3, 3, channels, multiplier) there."""
    w = random(4, 2, 3, 3, seed=2)
    body = (
        'nn.conv2d(%a, %b, padding=[1, 1], groups=4, channels=8, kernel_size=[3, 3], data_layout="NHWC", '
        'kernel_layout="HWOI")'
    )
    x, stored = (np.ascontiguousarray(array) for array in (X.transpose(0, 2, 3, 1), w.transpose(2, 3, 0, 1)))
    expected = convolved(X, w.reshape(8, 1, 3, 3), 4)
    check(run_body(tmp_path, body, x, stored), expected.transpose(0, 2, 3, 1))


def test_blocked_convolution(tmp_path):
    """NCHW2c, OIHW2i4o, as AlterOpLayout makes them."""
    w = random(8, 4, 3, 3, seed=2)
    blocked = X.reshape(2, 2, 2, 5, 6).transpose(0, 1, 3, 4, 2)
    stored = w.reshape(2, 4, 2, 2, 3, 3).transpose(0, 2, 4, 5, 3, 1)
    body = (
        "nn.contrib_conv2d_NCHWc(%a, %b, padding=[1, 1, 1, 1], channels=8, kernel_size=[3, 3], "
        'data_layout="NCHW2c", kernel_layout="OIHW2i4o", out_layout="NCHW4c")'
    )
    expected = convolved(X, w).reshape(2, 2, 4, 5, 6).transpose(0, 1, 3, 4, 2)
    check(run_body(tmp_path, body, np.ascontiguousarray(blocked), np.ascontiguousarray(stored)), expected)


@pytest.mark.parametrize(
    "channels,layout,labelled", [(3, None, "IOHW"), (3, "OIHW", "IOHW"), (4, "IOHW", "IOHW"), (4, "OIHW", "OIHW")]
)
def test_transposed_convolution(tmp_path, channels, layout, labelled):
    """Until TVM 0.9, IOHW was called OIHW; text has it only where it is not the default."""
    w = random(4, channels, 2, 2, seed=2)
    stored = np.ascontiguousarray(w if labelled == "IOHW" else w.transpose(1, 0, 2, 3))
    given = f', kernel_layout="{layout}"' if layout else ""
    body = f"nn.conv2d_transpose(%a, %b, channels={channels}, kernel_size=[2, 2], strides=[2, 2]{given})"
    expected = np.einsum("nchw,cokl->nohkwl", X, w).reshape(2, channels, 10, 12)
    check(run_body(tmp_path, body, X, stored), expected)


@pytest.mark.parametrize(
    "body,shapes,expected",
    [
        ("nn.dense(%a, %b, units=5)", [(3, 4), (5, 4)], "ij,kj->ik"),
        ("nn.dense(%a, %b, units=5)", [(2, 3, 4), (5, 4)], "hij,kj->hik"),
        ("nn.matmul(%a, %b)", [(3, 4), (4, 5)], "ij,jk->ik"),
        ("nn.matmul(%a, %b, transpose_a=True)", [(4, 3), (4, 5)], "ji,jk->ik"),
        ("nn.batch_matmul(%a, %b)", [(2, 3, 4), (2, 5, 4)], "hij,hkj->hik"),
        ("nn.batch_matmul(%a, %b)", [(2, 3, 4), (2, 4, 5)], "hij,hjk->hik"),
        ("nn.batch_matmul(%a, %b, transpose_b=True)", [(2, 4, 4), (2, 4, 4)], "hij,hkj->hik"),
        ('einsum((%a, %b), equation="ij,jk->ik")', [(3, 4), (4, 5)], "ij,jk->ik"),
        ('nn.contrib_dense_pack(%a, %b, weight_layout="NC4n")', [(3, 4), (2, 4, 4)], "ij,mjn->imn"),
    ],
)
def test_products(tmp_path, body, shapes, expected):
    arrays = [random(*shape, seed=i) for i, shape in enumerate(shapes)]
    result = np.einsum(expected, *arrays)
    check(run_body(tmp_path, body, *arrays), result.reshape(3, 8) if "pack" in body else result)


@pytest.mark.parametrize(
    "attributes,expected",
    [
        (
            'method="nearest_neighbor", coordinate_transformation_mode="asymmetric", rounding_method=""',
            X.repeat(2, 2).repeat(2, 3),
        ),
        ('method="linear", coordinate_transformation_mode="align_corners"', None),
    ],
)
def test_resizing(tmp_path, attributes, expected):
    (got,) = run_body(tmp_path, f"image.resize2d(%a, size=[10, 12], {attributes})", X)
    if expected is None:  # the corners stay, and what is between is on lines
        rows = np.linspace(0, 4, 10)
        columns = np.linspace(0, 5, 12)
        across = np.stack([[np.interp(columns, range(6), row) for row in image.reshape(-1, 6)] for image in X])
        across = across.reshape(2, 4, 5, 12).transpose(0, 1, 3, 2).reshape(2, -1, 5)
        expected = np.stack([[np.interp(rows, range(5), line) for line in image] for image in across])
        expected = expected.reshape(2, 4, 12, 10).transpose(0, 1, 3, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_upsampling(tmp_path):
    expected = X.repeat(2, 2).repeat(3, 3)
    check(run_body(tmp_path, "nn.upsampling(%a, scale_h=2f, scale_w=3f)", X), expected)
    body = 'nn.upsampling(%a, scale_h=2f, scale_w=3f, layout="NHWC")'
    check(run_body(tmp_path, body, np.ascontiguousarray(X.transpose(0, 2, 3, 1))), expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "body,message",
    [
        ("nn.conv2d(%a, %b)", r"a tensor \(4,\) can't be moved from OIHW to OIHW"),
        (
            'nn.conv2d(%a, ones(shape=[4, 4, 3, 3], dtype="float32"), kernel_size=[2, 2])',
            "kernel_size is .*, and its weights' is",
        ),
        (
            'nn.conv2d(%a, ones(shape=[4, 4, 3, 3], dtype="float32"), padding=[1, 2, 3])',
            "padding .* does not fit 2 axes",
        ),
        (
            'nn.conv2d(%a, ones(shape=[4, 4, 3, 3], dtype="float32"), data_layout="NCHW8c")',
            "can't be moved from NCHW8c to NCHW",
        ),
        ("nn.max_pool2d(%a)", "it has no pool_size"),
        ("nn.avg_pool2d(%a, pool_size=[2, 2], dilation=[2, 2])", "averages with dilation"),
        ("nn.adaptive_max_pool2d(%a, output_size=[2, 4])", "windows of several sizes"),
        ('nn.lrn(%a, norm_region="WITHIN_CHANNEL")', "within channels"),
        ("nn.mirror_pad(%a, pad_width=[[0, 0], [0, 0], [1, 1], [1, 1]])", "SYMMETRIC"),
        ("nn.pad(%a, %b, pad_width=[[0, 0], [0, 0], [1, 1], [1, 1]])", "argument 1 is not constant"),
        ("nn.pad(%a, pad_width=[[1, 1]])", "pad_width has 1 pairs"),
        ("split(%a, indices_or_sections=3, axis=1)", "can't split 4 into 3"),
        ("squeeze(%a, axis=[1])", "squeezes the axes"),
        ("nn.space_to_batch_nd(%a, block_shape=[3], paddings=[[0, 1]])", "5 can't be cut into blocks of 3"),
        ('layout_transform(%a, src_layout="NCHW", dst_layout="NCHW3c")', "4 can't be cut into blocks of 3"),
        ('layout_transform(%a, src_layout="NCHW", dst_layout="n!")', "is no layout"),
        ('cast(%a, dtype="custom[posit]8")', "ONNX does not have"),
        (
            'image.resize2d(%a, size=[2, 2], coordinate_transformation_mode="tf_crop_and_resize")',
            "which ONNX does not have",
        ),
        ("variance(%a, %a, unbiased=True)", "unbiased"),
        ("take(%a, 1, batch_dims=1, axis=2)", "batch_dims"),
        ('reshape(%a, newshape=["n", 2])', "newshape is .* not static"),
        ('nn.max_pool2d(cast(%a, dtype="int32"), pool_size=[2, 2])', "MaxPool does not take int32"),
    ],
)
def test_what_onnx_can_not_say_is_refused(tmp_path, body, message):
    text = f"def @main(%a: {typed(X)}, %b: {typed(V)}) {{ {body} }}"
    with pytest.raises(UserError, match=rf"operator \S+ \(node '\S+'\): .*{message}") as caught:
        read_text(tmp_path, text)
    assert "\n" not in str(caught.value)
