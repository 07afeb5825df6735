"""What a webcam does to a face, on the device: to judge a model by, and to train against.

A corruption is a function (key, image float32 [S, S, C] in [0, 255], severity) -> the same shape
and range. Severity is a number, 1 mild to 3 strong, and may be traced: one program serves all. They
scale with the picture, so that a face of 48 pixels and one of 224 suffer alike, but for JPEG,
whose blocks are 8 pixels: it is as if the camera's picture had the size that the network sees.
"""

import math

import jax
import jax.numpy as jnp

from jaxvision.input_pipeline.augment.jpeg import jpeg as compress
from jaxvision.input_pipeline.augment.sampling import bilinear

SEVERITIES = (1, 2, 3)
GAMMA = 2.2  # of pictures; light adds up in linear values
ELECTRONS = 1000.0  # that a white pixel collects; fewer: more shot noise
READ_NOISE = 0.002  # of a sensor, where white is 1
FACE = 48  # pixels a side, for which lengths are given below
DISTANCE = 4.0  # of the camera from a head that turns, in half widths of the picture


def dark(key, image, severity):
    """A room with 2^(-1.5 severity) of the light, and the sensor's shot and read noise."""
    light = (image / 255) ** GAMMA * 2.0 ** (-1.5 * severity)
    deviation = jnp.sqrt(light / ELECTRONS + READ_NOISE**2)
    light += deviation * jax.random.normal(key, image.shape)
    return 255 * jnp.clip(light, 0, 1) ** (1 / GAMMA)


def side_light(key, image, severity):
    """A window on one side: brightness goes by exp(.4 severity) from the middle to either edge."""
    across = jnp.linspace(-1, 1, image.shape[1])[:, None]
    side = jax.random.rademacher(key, (), jnp.float32)
    return jnp.clip(image * jnp.exp(0.4 * severity * side * across), 0, 255)


def defocus(key, image, severity):
    """Out of focus: each point is a disk of radius .75 severity, pixels of 48."""
    del key
    radius = 0.75 * severity * image.shape[0] / FACE

    def disk(y, x):
        return jnp.clip(radius + 0.5 - jnp.hypot(y, x), 0, 1)

    return _blur(image, disk, reach=0.75 * SEVERITIES[-1] / FACE)


def motion(key, image, severity):
    """Moved while exposed: each point is a line of length 3 severity, pixels of 48, anywhere."""
    length = 3.0 * severity * image.shape[0] / FACE
    angle = jax.random.uniform(key, maxval=math.pi)

    def line(y, x):
        along = x * jnp.cos(angle) + y * jnp.sin(angle)
        beside = y * jnp.cos(angle) - x * jnp.sin(angle)
        # A pixel of the line is one wide, too.
        beyond = jnp.maximum(jnp.abs(along) - jnp.maximum(length - 1, 0) / 2, 0)
        return jnp.clip(1 - jnp.hypot(beyond, beside), 0, 1)

    return _blur(image, line, reach=1.5 * SEVERITIES[-1] / FACE)


def jpeg(key, image, severity):
    """Compressed to quality 60 / 2^severity: 30, 15, 7.5."""
    del key
    return compress(image, 60.0 * 2.0**-severity)


def turned(key, image, severity):
    """The picture as a plane, turned by 15 severity degrees to either side, in perspective.

    A head is no plane: the far cheek grows narrow, but is not hidden. Beyond the border the edge
    goes on.
    """
    size = image.shape[0]
    angle = jnp.deg2rad(15.0 * severity) * jax.random.rademacher(key, (), jnp.float32)
    middle = (size - 1) / 2
    y, x = jnp.meshgrid(*[(jnp.arange(size) - middle) / (size / 2)] * 2, indexing="ij")
    # A point u of the plane is seen at x = u cos(angle) d / (d + u sin(angle)); solved for u.
    u = x * DISTANCE / (DISTANCE * jnp.cos(angle) - x * jnp.sin(angle))
    v = y * (DISTANCE + u * jnp.sin(angle)) / DISTANCE
    return bilinear(image, v * size / 2 + middle, u * size / 2 + middle)


CORRUPTIONS = {
    "dark": dark,
    "side light": side_light,
    "defocus": defocus,
    "motion": motion,
    "jpeg": jpeg,
    "turned": turned,
}


def _blur(image, weight, reach):
    """Each pixel as the mean of those about it by weight(down, across), pixels; edges go on.

    By FFT, which costs the same whatever the kernel is; `reach` is its largest radius as a share of
    the picture's side.
    """
    height, width = image.shape[:2]
    margin = math.ceil(reach * height) + 1
    padded = jnp.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    size = (height + 2 * margin, width + 2 * margin)
    down, across = (jnp.fft.fftfreq(n, 1 / n) for n in size)  # 0, 1, ..., -2, -1
    kernel = weight(down[:, None], across[None])
    spectrum = jnp.fft.rfft2(kernel / kernel.sum())[..., None]
    blurred = jnp.fft.irfft2(jnp.fft.rfft2(padded, axes=(0, 1)) * spectrum, size, axes=(0, 1))
    inside = blurred[margin : margin + height, margin : margin + width]
    return jnp.clip(inside, 0, 255)


def corrupt(name, seed, images, rows, severity):
    """A batch under one corruption, as the camera would give it.

    Args:
      name: of CORRUPTIONS.
      seed: with it and its row a picture always gets the same noise and the same direction.
      images: uint8 [B, S, S, C].
      rows: int32 [B], where each picture stands in its split.
      severity: a number.

    Returns:
      uint8 [B, S, S, C].
    """
    keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(seed), row))(rows)

    def one(key, image):
        return CORRUPTIONS[name](key, image.astype(jnp.float32), severity)

    return jnp.round(jax.vmap(one)(keys, images)).astype(jnp.uint8)


def random_corruption(key, image, probability):
    """With a probability one corruption, any of them, of a severity anywhere up to the strongest.

    Args:
      key: a random key.
      image: float32 [S, S, C] in [0, 255].
      probability: of corrupting at all.

    Returns:
      float32 [S, S, C] in [0, 255].
    """
    chance_key, kind_key, severity_key, own_key = jax.random.split(key, 4)
    kinds = list(CORRUPTIONS.values())
    kind = jax.random.randint(kind_key, (), 0, len(kinds))
    severity = jax.random.uniform(severity_key, maxval=float(SEVERITIES[-1]))
    corrupted = jax.lax.switch(kind, kinds, own_key, image, severity)
    return jnp.where(jax.random.bernoulli(chance_key, probability), corrupted, image)
