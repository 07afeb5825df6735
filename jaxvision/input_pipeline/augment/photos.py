"""Augmentation on the device, under jit: what is true of the image stays true of its labels."""

import jax
import jax.numpy as jnp

VIEWS = 10  # that `fixed_views` has


def resample(image, ys, xs, nearest=False):
    """Samples an image on a grid of rows `ys` and columns `xs`.

    Args:
      image: [H, W] or [H, W, C].
      ys, xs: float [H'] and [W'], in pixels, the centre of the first pixel at 0; inside the image.
      nearest: the nearest pixel (labels) in place of bilinear interpolation (pictures).

    Returns:
      float32 [H', W'] or [H', W', C].
    """
    image = image.astype(jnp.float32)
    for axis, at in ((0, ys), (1, xs)):
        if nearest:
            image = jnp.take(image, jnp.round(at).astype(jnp.int32), axis=axis, mode="clip")
            continue
        low = jnp.floor(at)
        weight = (at - low).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
        low = low.astype(jnp.int32)
        below = jnp.take(image, low, axis=axis, mode="clip")
        above = jnp.take(image, low + 1, axis=axis, mode="clip")
        image = below + weight * (above - below)
    return image


def crop_zoom_flip(key, image, mask, crop, zoom, flip, rotate90):
    """One random window of an image and its mask, enlarged or reduced, flipped and turned.

    Args:
      key: a random key.
      image: uint8 [S, S, C].
      mask: uint8 [S, S].
      crop: side of the result, pixels; at most S.
      zoom: the window's side lies between crop / (1 + zoom) and crop * (1 + zoom), and inside S.
      flip: mirror left to right and top to bottom, each with probability 1/2.
      rotate90: turn by a quarter with probability 1/2 (with flips: all eight symmetries).

    Returns:
      (image float32 [crop, crop, C] in [0, 255], mask float32 [crop, crop]).
    """
    size = image.shape[0]
    zoom_key, y_key, x_key, flip_key = jax.random.split(key, 4)
    largest = jnp.minimum(crop * (1.0 + zoom), size)
    # Uniform in the logarithm: enlarging is as likely as reducing by the same factor.
    window = jnp.exp(
        jax.random.uniform(zoom_key, minval=jnp.log(crop / (1.0 + zoom)), maxval=jnp.log(largest))
    )
    window = window if zoom > 0 else jnp.float32(crop)
    flips = jax.random.bernoulli(flip_key, shape=(3,)) & jnp.array([flip, flip, rotate90])

    def grid(grid_key, mirrored):
        start = jax.random.uniform(grid_key) * (size - window)
        if zoom == 0:
            start = jnp.round(start)  # whole pixels: nothing is interpolated
        at = start + (jnp.arange(crop) + 0.5) * (window / crop) - 0.5
        at = jnp.clip(at, 0, size - 1)
        return jnp.where(mirrored, at[::-1], at)

    ys, xs = grid(y_key, flips[0]), grid(x_key, flips[1])
    image, mask = resample(image, ys, xs), resample(mask, ys, xs, nearest=True)
    image = jnp.where(flips[2], image.swapaxes(0, 1), image)
    return image, jnp.where(flips[2], mask.T, mask)


def crop_mirror(key, image, crop):
    """A random square of `crop` pixels of an image, mirrored left to right half of the time.

    Args:
      key: a random key.
      image: uint8 [S, S, C].
      crop: side of the result, pixels; at most S.

    Returns:
      float32 [crop, crop, C] in [0, 255].
    """
    corner_key, mirror_key = jax.random.split(key)
    y, x = jax.random.randint(corner_key, (2,), 0, image.shape[0] - crop + 1)
    image = jax.lax.dynamic_slice(image, (y, x, 0), (crop, crop, image.shape[-1]))
    mirrored = jax.random.bernoulli(mirror_key)
    return jnp.where(mirrored, image[:, ::-1], image).astype(jnp.float32)


def fixed_views(images, crop, count):
    """Squares of `crop` pixels that are always the same, for features that are kept.

    Args:
      images: [B, S, S, C].
      crop: side of a view, pixels; at most S.
      count: how many of: the centre, its mirror image, then each corner and its mirror image.

    Returns:
      [B, count, crop, crop, C].
    """
    rest = images.shape[1] - crop
    places = [(rest // 2, rest // 2), (0, 0), (0, rest), (rest, 0), (rest, rest)]
    views = []
    for y, x in places[: -(-count // 2)]:
        view = images[:, y : y + crop, x : x + crop]
        views += [view, view[:, :, ::-1]]
    return jnp.stack(views[:count], axis=1)


def colour_jitter(key, image, brightness, contrast, saturation):
    """Scales brightness, contrast and saturation by factors in [1 - x, 1 + x], as torchvision does.

    Args:
      key: a random key.
      image: float32 [H, W, 3] in [0, 255].
      brightness, contrast, saturation: x of each.

    Returns:
      float32 [H, W, 3], clipped to [0, 255].
    """
    spread = jnp.array([brightness, contrast, saturation])
    factors = 1 + spread * jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
    luma = jnp.array([0.299, 0.587, 0.114])
    image = image * factors[0]
    mean = (image @ luma).mean()
    image = mean + (image - mean) * factors[1]
    gray = (image @ luma)[..., None]
    return jnp.clip(gray + (image - gray) * factors[2], 0, 255)
