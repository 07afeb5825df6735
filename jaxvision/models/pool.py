"""Pooling; over all places as modules without variables, whose input can be found by name."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxvision.errors import UserError


class MeanPool(nn.Module):
    """The mean over all places: [B, H, W, C] -> [B, C]. Grad-CAM looks at its input."""

    @nn.compact
    def __call__(self, x):
        _check_places(x)
        return x.mean(axis=(1, 2))


class Flatten(nn.Module):
    """All places side by side: [B, H, W, C] -> [B, H * W * C]. Grad-CAM looks at its input."""

    @nn.compact
    def __call__(self, x):
        _check_places(x)
        return x.reshape(x.shape[0], -1)


class MaxPool(nn.Module):
    """`max_pool_2x2` as a module. Grad-CAM looks at the input of a network's last."""

    @nn.compact
    def __call__(self, x):
        return max_pool_2x2(x)


def _check_places(x):
    if not x.shape[1] * x.shape[2]:
        raise UserError(
            "the images are too small for this network: its last map has no pixel left; use a "
            "larger data.image_size or data.crop_size, or another encoder"
        )


@jax.custom_vjp
def max_pool_2x2(x):
    """The largest of every 2x2 places, [B, H, W, C] -> [B, H // 2, W // 2, C].

    On CPU the gradient of XLA's window maximum takes four times as long as that of two elementwise
    maxima (128x48x48x32, 2 cores: 213 against 52 ms), so there it is these. Among equals they share
    the gradient, where the window gives it to the first.
    """
    return lax.platform_dependent(x, cpu=_pairwise, default=_window)


def _max_pool_forward(x):
    return max_pool_2x2(x), x


def _max_pool_backward(x, gradient):
    # Chosen anew, as in conv.py.
    def default(x, gradient):
        return jax.vjp(_window, x)[1](gradient)[0]

    return (lax.platform_dependent(x, gradient, cpu=_pairwise_backward, default=default),)


max_pool_2x2.defvjp(_max_pool_forward, _max_pool_backward)


def _window(x):
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def _pairwise(x):
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2 * 2, c)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(b, h // 2, w // 2, 2, c)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def _pairwise_backward(x, gradient):
    """The gradient of `_pairwise`, as one elementwise pass: jax's own pads and adds four parts."""
    b, h, w, c = x.shape
    pairs = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    upper, lower = pairs[:, :, 0], pairs[:, :, 1]
    rows = jnp.maximum(upper, lower)  # [b, h // 2, w // 2, 2, c]
    left, right = rows[:, :, :, :1], rows[:, :, :, 1:]
    of_row = _share(rows, jnp.maximum(left, right), left == right) * gradient[:, :, :, None]
    of_pair = _share(pairs, rows[:, :, None], (upper == lower)[:, :, None])
    taken = (of_pair * of_row[:, :, None]).reshape(b, h // 2 * 2, w // 2 * 2, c)
    return jnp.pad(taken, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))


def _share(x, largest, equal):
    """Of the gradient, that x gets as one of two: half where they are equal."""
    return jnp.where(equal, 0.5, (x == largest).astype(x.dtype))
