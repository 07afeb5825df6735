"""What hinders the view of an animal, added to pictures on the device: occlusion, walls, blur.

Points stay where they are and count as before: where a tail base is can be told from the rest of
the animal.
"""

import math

import jax
import jax.numpy as jnp

LARGEST = 0.4  # side of an occlusion, of the picture's side
NEAREST = 0.15  # of the side, from the picture's centre


def occlusion(key, image, probability):
    """A turned rectangle over the picture, which may reach beyond the border: something in front.

    It is plain and darker than the picture's mean, or, at even odds, shows another part of the
    picture.

    Args:
      key: a random key.
      image: float32 [H, W, C] in [0, 255].
      probability: of one at all.

    Returns:
      float32 [H, W, C].
    """
    height, width, _ = image.shape
    chance_key, place_key, turn_key, size_key, plain_key, grey_key = jax.random.split(key, 6)
    centre = jax.random.uniform(place_key, (2,)) * jnp.array([width, height])
    sides = jax.random.uniform(size_key, (2,), minval=0.05, maxval=LARGEST)
    angle = jax.random.uniform(turn_key, maxval=2 * jnp.pi)
    along, across = _along_and_across(angle, *_from(centre, height, width))
    half = sides * min(height, width) / 2
    inside = (jnp.abs(along) < half[0]) & (jnp.abs(across) < half[1])
    inside &= jax.random.bernoulli(chance_key, probability)
    grey = jax.random.uniform(grey_key) * image.mean()
    other = jnp.where(jax.random.bernoulli(plain_key), grey, image[::-1, ::-1])
    return jnp.where(inside[..., None], other, image)


def wall(key, image, probability):
    """A dark wall behind the animal: along one side of the picture, at even odds along a second.

    What is darker than the wall, the animal, stays as it is; so only its outline is lost.

    Args:
      key: a random key.
      image: float32 [H, W, C] in [0, 255].
      probability: of a wall at all.

    Returns:
      float32 [H, W, C].
    """
    height, width, _ = image.shape
    chance_key, turn_key, second_key, distance_key, soft_key, grey_key = jax.random.split(key, 6)
    angle = jax.random.uniform(turn_key, maxval=2 * jnp.pi)
    middle = _from(((width - 1) / 2, (height - 1) / 2), height, width)
    places = jnp.stack(_along_and_across(angle, *middle))  # [2, H, W]
    distances = jax.random.uniform(distance_key, (2,), minval=NEAREST, maxval=0.5)
    softness = jax.random.uniform(soft_key, minval=0.5, maxval=3.0)  # pixels
    shares = jax.nn.sigmoid(
        (places - distances[:, None, None] * min(height, width)) / softness
    )  # [2, H, W]
    there = jax.random.bernoulli(chance_key, probability) & jnp.array(
        [True, jax.random.bernoulli(second_key)]
    )
    share = (shares * there[:, None, None]).max(0)[..., None]
    darkest, mean = image.min(), image.mean()
    grey = darkest + jax.random.uniform(grey_key, minval=0.1, maxval=0.7) * (mean - darkest)
    return image + share * (jnp.minimum(image, grey) - image)


def blur(key, image, largest):
    """A Gaussian that is long in a random direction: of motion where narrow, else of focus.

    Args:
      key: a random key.
      image: float32 [H, W, C].
      largest: standard deviation along that direction, at most, pixels; across it is less.

    Returns:
      float32 [H, W, C].
    """
    turn_key, long_key, round_key = jax.random.split(key, 3)
    angle = jax.random.uniform(turn_key, maxval=2 * jnp.pi)
    long = largest * jax.random.uniform(long_key)
    short = long * jax.random.uniform(round_key)
    reach = math.ceil(2 * largest)
    height, width, _ = image.shape
    padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    # The transform of a Gaussian is one too: by frequencies it costs the same for every size.
    y = jnp.fft.fftfreq(padded.shape[0])[:, None]  # cycles a pixel
    x = jnp.fft.rfftfreq(padded.shape[1])
    along, across = _along_and_across(angle, x, y)
    passed = jnp.exp(-2 * jnp.pi**2 * ((along * long) ** 2 + (across * short) ** 2))[..., None]
    shape, axes = padded.shape[:2], (0, 1)
    blurred = jnp.fft.irfft2(jnp.fft.rfft2(padded, axes=axes) * passed, shape, axes)
    return blurred[reach : reach + height, reach : reach + width]


def _along_and_across(angle, x, y):
    """Coordinates along a direction and across it."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _from(centre, height, width):
    """x and y of all pixels from a centre (x, y): float32 [H, W] each."""
    ys, xs = jnp.mgrid[:height, :width].astype(jnp.float32)
    return xs - centre[0], ys - centre[1]
