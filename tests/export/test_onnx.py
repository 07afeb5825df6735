"""The ONNX model computes what jax does, with batch norm folded and few transpositions."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.export.onnx.convert import to_onnx
from tests import networks

onnxruntime = pytest.importorskip("onnxruntime")


@functools.cache
def converted(name):
    net = networks.ALL[name]()
    return net, to_onnx(net.function, net.variables, ("b", *net.shape))


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def kinds(model):
    return Counter(node.op_type for node in model.graph.node)


def assert_close(found, expected):
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * np.abs(value).max())


def answers(running, images, input_name="images"):
    names = [output.name for output in running.get_outputs()]
    return dict(zip(names, running.run(names, {input_name: images}), strict=True))


@pytest.mark.parametrize("name", networks.ALL)
def test_equals_jax_for_every_batch_size(name):
    net, model = converted(name)
    running, images = session(model), networks.pictures(8, net.shape)
    expected = jax.device_get(jax.jit(net.function)(net.variables, images))
    assert all(np.ptp(value, axis=0).max() > 0 for value in expected.values())
    for batch in (1, 3, 8):  # no row depends on the others
        rows = {key: value[:batch] for key, value in expected.items()}
        assert_close(answers(running, images[:batch]), rows)


@pytest.mark.parametrize(
    ("name", "shape", "constraints", "sizes"),
    [
        ("footprints", ("b", "32*h", "32*w", 3), ("h >= 3", "w >= 3"), [(2, 128, 96, 3)]),
        (
            "heatmaps",
            ("b", "h", "w", 1),
            ("h >= 16", "w >= 16"),
            [(2, 16, 17, 1), (2, 33, 50, 1), (1, 40, 32, 1)],
        ),
    ],
)
def test_sides_stay_open_where_the_network_is_convolutional(name, shape, constraints, sizes):
    net, _ = converted(name)
    model = to_onnx(net.function, net.variables, shape, constraints=constraints)
    running = session(model)
    for size in sizes:
        images = networks.pictures(size[0], size[1:])
        assert_close(
            answers(running, images), jax.device_get(jax.jit(net.function)(net.variables, images))
        )


def test_batch_norm_is_inside_the_convolutions_and_layouts_cancel():
    for name in ("footprints", "faces", "faces_efficientnet", "streets"):
        net, model = converted(name)
        makers = {output: node.op_type for node in model.graph.node for output in node.output}
        for node in model.graph.node:
            after_convolution = {makers.get(source) for source in node.input} == {"Conv", None}
            if node.op_type in ("Add", "Sub", "Mul", "Div") and after_convolution:
                pytest.fail(f"{name}: {node.op_type} by a constant after a convolution")
        assert "BatchNormalization" not in kinds(model)
        assert kinds(model)["Transpose"] <= 1, name  # of the pictures; of maps none
    counts = kinds(converted("footprints")[1])
    assert counts["Resize"] == 5 and counts["Clip"] == 14 and counts["Relu"] == 9
    assert not counts["Tile"] and not counts["Expand"] and not counts["Gather"]


def test_names_sizes_and_metadata_are_the_callers():
    net, _ = converted("coordinates")
    model = to_onnx(
        net.function,
        net.variables,
        ("b", *net.shape),
        input_name="crops",
        output_names={"points": "keypoints"},
        metadata={"classes": "nose, tail"},
    )
    running = session(model)
    (given,) = running.get_inputs()
    assert (given.name, given.shape, given.type) == ("crops", ["b", 33, 32, 1], "tensor(uint8)")
    assert [o.name for o in running.get_outputs()] == ["keypoints", "spread"]
    assert [o.shape for o in running.get_outputs()] == [["b", 3, 2], ["b", 3]]
    assert running.get_modelmeta().custom_metadata_map == {"classes": "nose, tail"}
    assert model.opset_import[0].version >= 18


def test_unknown_primitive_is_named_with_its_line():
    def ranked(variables, images):
        return {"ranked": jnp.sort(images.astype(jnp.float32) * variables, axis=1)}

    with pytest.raises(UserError, match=r"'sort'.*tests/export/test_onnx\.py:\d+"):
        to_onnx(ranked, np.float32(2), ("b", 4))


def test_unused_weights_and_unknown_primitives_for_nobody_do_no_harm():
    def first(variables, images):
        del variables["unused"]
        jnp.sort(images)
        return {"first": images[:, 0].astype(jnp.float32) * variables["used"]}

    variables = {"used": np.float32(3), "unused": np.zeros((1000, 1000), np.float32)}
    model = to_onnx(first, variables, ("b", 4))
    assert len(model.SerializeToString()) < 2000
    images = np.arange(8, dtype=np.uint8).reshape(2, 4)
    np.testing.assert_array_equal(answers(session(model), images)["first"], [0, 12])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.einsum("bij,bkj->bik", x, x + 1),
        lambda x: jnp.einsum("bij,ikj->bjk", x, jnp.arange(60.0).reshape(3, 5, 4)),
        lambda x: jnp.concatenate([x, jnp.ones((x.shape[0], 3, 4))[:, ::-1]], axis=2),
        lambda x: jnp.cumsum(x.transpose(2, 0, 1), axis=0, dtype=jnp.float32),
        lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0)), mode="edge").swapaxes(1, 2),
        lambda x: jnp.repeat(x, 3, axis=1) - x.mean(axis=(1, 2), keepdims=True),
        lambda x: jnp.where(x > 100, x % 7, -x // 3) + x.argmax(axis=1, keepdims=True),
        lambda x: jax.nn.softmax(x / 50, axis=1) + jnp.expm1(x / 255).clip(0.1, 0.9),
        lambda x: jax.lax.scan(lambda c, r: (c + r, c * r), x[:, 0], x.swapaxes(0, 1) / 9)[1],
        lambda x: jnp.broadcast_to(x[:, None, :, None], (x.shape[0], 2, 3, 2, 4)).sum((1, 3)),
    ],
)
def test_single_operations(function):
    def run(variables, images):
        return {"y": function(images.astype(jnp.float32))}

    images = networks.pictures(5, (3, 4))
    expected = {"y": np.asarray(run(None, images)["y"])}
    assert_close(answers(session(to_onnx(run, {}, ("b", 3, 4))), images), expected)
