"""Augmentation of images with a class each, on the device, under jit.

What moves or recolours a picture leaves its class alone; mixup and cutmix blend two pictures, and
then both classes count, by their share.
"""

import jax
import jax.numpy as jnp

from jaxvision.input_pipeline.augment.photos import colour_jitter
from jaxvision.input_pipeline.augment.sampling import bilinear


def affine(key, image, side, rotate, zoom, shift, flip):
    """A random similarity of an image, interpolated once; beyond the border its edge goes on.

    Args:
      key: a random key.
      image: [S, S, C].
      side: of the result, pixels; where less than S, a random square of that side is cut out.
      rotate: turned by up to this, degrees.
      zoom: enlarged or reduced by a factor of up to 1 + zoom.
      shift: moved by up to this share of S, down and across.
      flip: mirrored left to right with probability 1/2.

    Returns:
      float32 [side, side, C].
    """
    size = image.shape[0]
    angle_key, zoom_key, shift_key, crop_key, flip_key = jax.random.split(key, 5)
    angle = jnp.deg2rad(rotate) * jax.random.uniform(angle_key, minval=-1.0, maxval=1.0)
    scale = (1.0 + zoom) ** jax.random.uniform(zoom_key, minval=-1.0, maxval=1.0)
    moved = shift * size * jax.random.uniform(shift_key, (2,), minval=-1.0, maxval=1.0)
    corner = jax.random.randint(crop_key, (2,), 0, size - side + 1)
    at = jnp.arange(side) - (size - 1) / 2
    rows, columns = jnp.meshgrid(at + corner[0], at + corner[1], indexing="ij")
    mirrored = jax.random.bernoulli(flip_key) & flip
    columns = jnp.where(mirrored, -columns, columns)
    sine, cosine = jnp.sin(angle) / scale, jnp.cos(angle) / scale
    centre = (size - 1) / 2 + moved
    ys = cosine * rows - sine * columns + centre[0]
    xs = sine * rows + cosine * columns + centre[1]
    return bilinear(image, ys, xs)


def tone_jitter(key, image, brightness, contrast, saturation):
    """`augment.colour_jitter` for gray images too: float32 [H, W, C] in [0, 255]."""
    if image.shape[-1] == 3:
        return colour_jitter(key, image, brightness, contrast, saturation)
    factors = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    image = image * (1 + brightness * factors[0])
    mean = image.mean()
    return jnp.clip(mean + (image - mean) * (1 + contrast * factors[1]), 0, 255)


def random_erase(key, image, probability, largest=0.33):
    """Noise over a random rectangle (Zhong et al. 2017, arXiv 1708.04896).

    Args:
      key: a random key.
      image: float32 [S, S, C] in [0, 255].
      probability: of erasing at all.
      largest: share of the image; the rectangle has .02 of it or more, its sides a ratio of .3 to
        3.3, and it may reach beyond the border.
    """
    size = image.shape[0]
    chance_key, area_key, ratio_key, centre_key, noise_key = jax.random.split(key, 5)
    area = jax.random.uniform(area_key, minval=0.02, maxval=largest) * size**2
    ratio = 3.3 ** jax.random.uniform(ratio_key, minval=-1.0, maxval=1.0)
    half = jnp.sqrt(jnp.stack([area * ratio, area / ratio])) / 2
    centre = jax.random.uniform(centre_key, (2,)) * size
    at = jnp.arange(size) + 0.5
    inside = [jnp.abs(at - centre[axis]) < half[axis] for axis in (0, 1)]
    hole = inside[0][:, None, None] & inside[1][None, :, None]
    hole &= jax.random.bernoulli(chance_key, probability)
    return jnp.where(hole, jax.random.uniform(noise_key, image.shape) * 255, image)


def mix(key, images, mixup, cutmix):
    """Blends each image with the one after it in the batch; the last with the first.

    Mixup (Zhang et al. 2017, arXiv 1710.09412) averages the two; cutmix (Yun et al. 2019, arXiv
    1905.04899) puts a rectangle of the other into the one. Where both are asked for, each image
    gets one of them, at even odds.

    Args:
      key: a random key.
      images: float32 [B, S, S, C].
      mixup, cutmix: alpha of the Beta(alpha, alpha) that draws the share of each; 0: not that one.

    Returns:
      (float32 [B, S, S, C], share of the image itself in each result, float32 [B]). The other's
      label is `jnp.roll(label, -1)`.
    """
    count, size = images.shape[:2]
    if not (mixup or cutmix):
        return images, jnp.ones(count)
    choice_key, share_key, cut_key, centre_key = jax.random.split(key, 4)
    others = jnp.roll(images, -1, axis=0)
    share = jax.random.beta(share_key, mixup, mixup, (count,)) if mixup else jnp.ones(count)
    blended = others + share[:, None, None, None] * (images - others)
    if not cutmix:
        return blended, share
    half = jnp.sqrt(1 - jax.random.beta(cut_key, cutmix, cutmix, (count, 1))) * size / 2
    centre = jax.random.uniform(centre_key, (2, count, 1)) * size
    at = jnp.arange(size) + 0.5
    inside = [jnp.abs(at - centre[axis]) < half for axis in (0, 1)]  # [B, S] each
    hole = inside[0][:, :, None] & inside[1][:, None, :]  # [B, S, S]
    cut = jnp.where(hole[..., None], others, images)
    cut_share = 1 - hole.mean(axis=(1, 2))  # exact, also where the rectangle meets the border
    use_mixup = jax.random.bernoulli(choice_key, 0.5 if mixup else 0.0, (count,))
    images = jnp.where(use_mixup[:, None, None, None], blended, cut)
    return images, jnp.where(use_mixup, share, cut_share)
