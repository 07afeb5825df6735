"""Grad-CAM finds what a score depends on, in models that were not made for it."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxvision.visualize.grad_cam import grad_cam
from jaxvision.visualize.grid import heat_overlay


class Pool(nn.Module):
    """Pooling as a module without variables, as models have it."""

    @nn.compact
    def __call__(self, x):
        return x.mean(axis=(1, 2))


class Net(nn.Module):
    """A score that grows with brightness, from a map and a pooling layer with names."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (1, 1), name="maps", kernel_init=nn.initializers.ones)(x)  # [B, H, W, 2]
        x = nn.relu(x)
        return nn.Dense(1, name="head", kernel_init=nn.initializers.ones)(Pool(name="pool")(x))


def spot(at):
    images = np.zeros((2, 8, 8, 1), np.float32)
    images[0, at[0], at[1]] = 1.0
    return images


def test_the_heat_is_where_the_score_comes_from():
    model = Net()
    images = spot((2, 5))
    variables = model.init(jax.random.key(0), images)

    @jax.jit
    def heat_of(images):
        return grad_cam(lambda x: model.apply(variables, x)[:, 0], images, "pool")

    heat = np.asarray(heat_of(images))
    assert heat.shape == (2, 8, 8)
    assert np.unravel_index(heat[0].argmax(), (8, 8)) == (2, 5) and heat[0].max() == 1
    assert heat[0].sum() == 1  # a single pixel raises the score
    assert not heat[1].any()  # nothing raises the score of a black image
    # Of a score that falls with brightness no place is to blame.
    falling = grad_cam(lambda x: -model.apply(variables, x)[:, 0], images, "pool")
    assert not np.asarray(falling).any()


def test_the_formula_at_a_hidden_map():
    conv = nn.Conv(3, (3, 3))
    model = nn.Sequential([nn.Conv(5, (3, 3)), nn.tanh, conv, nn.tanh, Pool(), nn.Dense(4)])
    images = np.random.default_rng(0).random((2, 6, 6, 1), np.float32)
    variables = model.init(jax.random.key(0), images)
    params = variables["params"]
    heat = grad_cam(lambda x: model.apply(variables, x)[:, 1], images, "layers_2")
    maps = nn.tanh(nn.Conv(5, (3, 3)).apply({"params": params["layers_0"]}, images))

    def rest(maps):
        x = nn.tanh(conv.apply({"params": params["layers_2"]}, maps)).mean((1, 2))
        return (x @ params["layers_5"]["kernel"][:, 1]).sum()

    weights = jax.grad(rest)(maps).mean((1, 2), keepdims=True)
    expected = np.maximum((weights * maps).sum(-1), 0)
    expected /= np.maximum(expected.max((1, 2), keepdims=True), 1e-12)
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_a_layer_that_does_not_exist_is_named():
    model = Net()
    variables = model.init(jax.random.key(0), spot((0, 0)))
    with pytest.raises(ValueError, match="no layer 'conv9' ran"):
        grad_cam(lambda x: model.apply(variables, x)[:, 0], spot((0, 0)), "conv9")
    with pytest.raises(ValueError, match="takes no map"):
        grad_cam(lambda x: model.apply(variables, x)[:, 0], spot((0, 0)), "head")


def test_the_overlay_is_coloured_by_heat():
    image = np.full((2, 2, 1), 100, np.uint8)
    shown = heat_overlay(image, np.array([[0, 1], [0.5, 0.25]]))
    assert shown.shape == (2, 2, 3) and shown.dtype == np.uint8
    assert shown[0, 0, 2] > shown[0, 0, 1] and shown[0, 1, 0] > shown[0, 1, 2]
