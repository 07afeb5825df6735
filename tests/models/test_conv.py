"""The CPU rewrites of convolution give what lax gives, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxvision.models import conv

# (height, width, kernel, strides, padding)
GEOMETRIES = [
    (8, 8, (3, 3), (1, 1), "SAME"),
    (8, 7, (3, 3), (2, 2), "SAME"),
    (9, 8, (5, 5), (2, 2), "SAME"),
    (7, 9, (3, 2), (1, 2), "VALID"),
    (4, 5, (3, 3), (2, 1), ((0, 1), (2, -1))),
    (2, 2, (3, 3), (1, 1), "SAME"),
    (1, 1, (3, 3), (1, 1), "SAME"),
    (1, 1, (3, 3), (2, 2), ((1, 1), (1, 1))),
    (4, 2, (5, 5), (2, 1), "SAME"),
    (3, 3, (7, 7), (2, 2), ((3, 3), (3, 3))),
]


def operands(height, width, kernel, depthwise, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, height, width, 6)), dtype)
    w = jnp.asarray(rng.normal(size=(*kernel, 1 if depthwise else 6, 6)), dtype)
    return x, w


def with_gradients(fn, x, w, **kwargs):
    def loss(x, w):
        y = fn(x, w, dimension_numbers=conv.NHWC, **kwargs)
        weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return (y * weights).sum(), y

    (_, y), (dx, dw) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(x, w)
    return y, dx, dw


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_equals_lax_with_gradients(geometry, depthwise):
    height, width, kernel, strides, padding = geometry
    x, w = operands(height, width, kernel, depthwise)
    kwargs = {
        "window_strides": strides,
        "padding": padding,
        "feature_group_count": 6 if depthwise else 1,
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "precision": lax.Precision.HIGHEST,
    }
    ours = with_gradients(conv.conv_general_dilated, x, w, **kwargs)
    expected = with_gradients(lax.conv_general_dilated, x, w, **kwargs)
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("held, at_once", [(1, 1), (2, 2), (4, 3), (9, 6)])  # of 6 images
@pytest.mark.parametrize("filters", [2, 6])  # the gradient's or the image's windows are laid out
def test_weight_gradients_of_several_images_at_once(held, at_once, filters, monkeypatch):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(6, 5, 4, 3)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 3, filters)), jnp.float32)
    size = 5 * 4 * min(3, filters) * 9 * 4  # bytes of an image's windows
    monkeypatch.setattr(conv, "CACHE", held * size)
    assert conv._images_at_once(6, size) == at_once
    kwargs = {"window_strides": (1, 1), "padding": "SAME", "precision": lax.Precision.HIGHEST}
    ours = with_gradients(conv.conv_general_dilated, x, w, **kwargs)
    expected = with_gradients(lax.conv_general_dilated, x, w, **kwargs)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("preferred", [None, jnp.float32])
def test_bfloat16_keeps_the_result_type(depthwise, preferred):
    x, w = operands(2, 2, (3, 3), depthwise, jnp.bfloat16)
    kwargs = {"feature_group_count": 6 if depthwise else 1, "preferred_element_type": preferred}
    args = (x, w, (1, 1), "SAME")
    ours = conv.conv_general_dilated(*args, dimension_numbers=conv.NHWC, **kwargs)
    expected = lax.conv_general_dilated(*args, dimension_numbers=conv.NHWC, **kwargs)
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(
        ours.astype(jnp.float32), expected.astype(jnp.float32), rtol=2e-2, atol=2e-2
    )


@pytest.mark.parametrize(
    "kwargs",
    [
        {"kernel_dilation": 2},
        {"input_dilation": 2, "padding": ((1, 1), (1, 1))},
        {"feature_group_count": 3},
        {"feature_group_count": 6, "features": 12},
        {"padding": "CIRCULAR"},
        {"kernel_size": (1, 1), "strides": 2},
    ],
)
def test_every_other_nn_conv_still_works(kwargs):
    kwargs = {"features": 6, "kernel_size": (3, 3), **kwargs}
    x, _ = operands(8, 8, (3, 3), False)
    layer = nn.Conv(**kwargs, conv_general_dilated=conv.conv_general_dilated)
    variables = layer.init(jax.random.key(0), x)
    expected = nn.Conv(**kwargs).apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_accelerators_get_the_plain_operation():
    x, w = operands(2, 2, (3, 3), False)
    convolve = jax.jit(
        lambda x, w: conv.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=conv.NHWC)
    )
    programs = {
        platform: convolve.trace(x, w).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    assert "stablehlo.convolution" in programs["cuda"]
    assert "dot_general" not in programs["cuda"]
    assert "dot_general" in programs["cpu"] and "stablehlo.convolution" not in programs["cpu"]
