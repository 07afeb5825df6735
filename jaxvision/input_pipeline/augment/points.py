"""Augmentation of pictures with points, on the device: the points move with the pixels.

One affine map holds the turns, flips, rotation, scale and shift of a picture, so its pixels are
interpolated once. Positions are (x, y) in pixels, (0, 0) at the centre of the top left pixel.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.input_pipeline.augment.sampling import bilinear


class Motion(NamedTuple):
    """Where things go: out = linear @ in + offset, in pixels.

    Attributes:
      linear: float32 [2, 2].
      offset: float32 [2].
      mirrored: bool, whether left and right have changed places.
    """

    linear: jax.Array
    offset: jax.Array
    mirrored: jax.Array


def random_motion(key, height, width, *, rotate90, flip, rotation, scale, shift) -> Motion:
    """Draws a motion about the picture's centre.

    Args:
      key: a random key.
      height, width: of the picture, pixels.
      rotate90: turn by a random multiple of 90 degrees (of 180, where the picture is not square).
      flip: mirror with probability 1/2; with `rotate90` all eight symmetries occur.
      rotation: turn further by up to this many degrees, either way.
      scale: enlarge or reduce by a factor of up to 1 + scale.
      shift: move by up to this many pixels along x and y.
    """
    quarter_key, flip_key, angle_key, scale_key, shift_key = jax.random.split(key, 5)
    quarters = jax.random.randint(quarter_key, (), 0, 4)
    quarters = quarters if height == width else quarters // 2 * 2
    # Whole pixels stay whole under turns and flips alone: cosines are exact, not rounded.
    cos = jnp.array([1.0, 0.0, -1.0, 0.0])[quarters if rotate90 else 0]
    sin = jnp.array([0.0, 1.0, 0.0, -1.0])[quarters if rotate90 else 0]
    mirrored = jax.random.bernoulli(flip_key) & flip
    linear = jnp.array([[cos, sin], [-sin, cos]]) * jnp.array([jnp.where(mirrored, -1.0, 1.0), 1.0])
    angle = jnp.deg2rad(jax.random.uniform(angle_key, minval=-1.0, maxval=1.0) * rotation)
    # Uniform in the logarithm: enlarging is as likely as reducing by the same factor.
    factor = jnp.exp(
        jax.random.uniform(scale_key, minval=-1.0, maxval=1.0) * jnp.log1p(jnp.float32(scale))
    )
    if rotation > 0:
        turn = jnp.array(
            [[jnp.cos(angle), jnp.sin(angle)], [-jnp.sin(angle), jnp.cos(angle)]], jnp.float32
        )
        linear = jnp.dot(turn, linear, precision="highest")
    linear = linear * factor if scale > 0 else linear
    moved = jax.random.uniform(shift_key, (2,), minval=-shift, maxval=shift)
    if rotation == 0 and scale == 0:
        moved = jnp.round(moved)  # nothing is interpolated
    centre = jnp.array([width - 1, height - 1], jnp.float32) / 2
    offset = centre + moved - jnp.dot(linear, centre, precision="highest")
    return Motion(linear, offset, mirrored)


def move_image(image, motion: Motion):
    """The picture after a motion; what comes from outside is a copy of the nearest edge pixel.

    Args:
      image: [H, W, C].

    Returns:
      float32 [H, W, C], bilinear between pixels.
    """
    height, width, _ = image.shape
    (a, b), (c, d) = motion.linear
    inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
    ys, xs = jnp.mgrid[:height, :width].astype(jnp.float32)
    x, y = xs - motion.offset[0], ys - motion.offset[1]
    # Written out: a matrix product might round to bfloat16 on some devices.
    x, y = inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y
    return bilinear(image, y, x)


def move_points(points, visible, motion: Motion, swap, height, width):
    """The points after a motion.

    Args:
      points: float32 [K, 2].
      visible: float32 [K] in {0, 1}.
      swap: int [K], where each point's mirror image is: the left ear's entry is the right ear.
      height, width: of the picture.

    Returns:
      (points [K, 2], visible [K]); what has left the picture is not visible.
    """
    points, visible, swap = jnp.asarray(points), jnp.asarray(visible), jnp.asarray(swap)
    points = jnp.dot(points, motion.linear.T, precision="highest") + motion.offset
    points = jnp.where(motion.mirrored, points[swap], points)
    visible = jnp.where(motion.mirrored, visible[swap], visible)
    far = jnp.array([width - 0.5, height - 0.5])
    inside = ((points >= -0.5) & (points <= far)).all(-1)
    return points, visible * inside


def light_and_noise(key, image, *, brightness, contrast, noise):
    """Scales contrast and brightness by factors in [1 - x, 1 + x], then adds pixel noise.

    Args:
      key: a random key.
      image: float32 [H, W, C] in [0, 255].
      brightness, contrast: x of each.
      noise: standard deviation, grey levels.

    Returns:
      float32 [H, W, C] in [0, 255].
    """
    factor_key, noise_key = jax.random.split(key)
    bright, contrasted = 1 + jnp.array([brightness, contrast]) * jax.random.uniform(
        factor_key, (2,), minval=-1.0, maxval=1.0
    )
    mean = image.mean()
    image = (mean + (image - mean) * contrasted) * bright
    if noise > 0:
        image = image + noise * jax.random.normal(noise_key, image.shape)
    return jnp.clip(image, 0, 255)
