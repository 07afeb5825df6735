"""Pictures at places between their pixels, on the device."""

import jax.numpy as jnp


def bilinear(image, ys, xs):
    """image [H, W, C] at rows ys and columns xs, float [h, w], pixels: float32 [h, w, C].

    The centre of the first pixel is at 0; beyond the border the nearest pixel counts.
    """
    height, width, channels = image.shape
    ys, xs = jnp.clip(ys, 0, height - 1), jnp.clip(xs, 0, width - 1)
    top, left = jnp.floor(ys), jnp.floor(xs)
    dy, dx = (ys - top)[..., None], (xs - left)[..., None]
    # Each pixel beside its three neighbours, so that one gather fetches all four.
    rows = jnp.concatenate([image, jnp.concatenate([image[1:], image[-1:]])], axis=-1)
    four = jnp.concatenate([rows, jnp.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)], axis=-1)
    at = (top * width + left).astype(jnp.int32)
    four = four.reshape(height * width, 4 * channels).at[at].get(mode="promise_in_bounds")
    four = four.astype(jnp.float32)  # [h, w, 4 C]
    left_side = _between(four[..., :channels], four[..., channels : 2 * channels], dy)
    right_side = _between(four[..., 2 * channels : 3 * channels], four[..., 3 * channels :], dy)
    return _between(left_side, right_side, dx)


def _between(a, b, share):
    return a + share * (b - a)
