"""What JPEG compression does to a picture, on the device: ITU-T T.81 without the entropy coding.

Quantising the coefficients of 8 x 8 blocks is all that loses anything, so no file is made.
"""

import jax.numpy as jnp
import numpy as np

BLOCK = 8  # pixels
# T.81, tables K.1 and K.2: the steps of luminance and chrominance at quality 50.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
CHROMINANCE = np.full((BLOCK, BLOCK), 99, np.float32)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# JFIF: Y, Cb and Cr of RGB, Cb and Cr about 0.
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_TO_RGB = np.linalg.inv(_TO_YCC).astype(np.float32)


def jpeg(image, quality):
    """An image after it was kept as JPEG, chroma at full resolution.

    Args:
      image: float32 [H, W, C] in [0, 255], gray or RGB.
      quality: libjpeg's, from 1 to 100; may be traced.

    Returns:
      float32 [H, W, C], whole numbers from 0 to 255.
    """
    height, width, channels = image.shape
    below, right = -height % BLOCK, -width % BLOCK
    planes = jnp.pad(jnp.round(image), ((0, below), (0, right), (0, 0)), mode="edge")
    if channels == 3:
        planes = jnp.round(_colours(planes, _TO_YCC))
    planes -= jnp.where(jnp.arange(channels) == 0, 128.0, 0.0)
    steps = _steps(quality, channels)[None, :, None]  # [1, 8, 1, 8, C]
    blocks = planes.reshape(-1, BLOCK, (width + right) // BLOCK, BLOCK, channels)
    cosines = jnp.asarray(_cosines())
    exact = {"precision": "highest"}  # bfloat16 would round whole grey levels away
    coefficients = jnp.einsum("ua,iajbc,vb->iujvc", cosines, blocks, cosines, **exact)
    # libjpeg knows eighths and rounds halves away from 0, which whole grey levels often come to.
    eighths = jnp.round(8 * jnp.abs(coefficients))
    levels = jnp.floor((eighths + 4 * steps) / (8 * steps))
    coefficients = jnp.sign(coefficients) * levels * steps
    blocks = jnp.einsum("ua,iujvc,vb->iajbc", cosines, coefficients, cosines, **exact)
    planes = jnp.round(blocks).reshape(height + below, width + right, channels)[:height, :width]
    planes = jnp.clip(planes, -128, 127) + jnp.where(jnp.arange(channels) == 0, 128.0, 0.0)
    if channels == 3:
        planes = jnp.round(_colours(planes, _TO_RGB))
    return jnp.clip(planes, 0, 255)


def _colours(image, matrix):
    return jnp.einsum("hwc,dc->hwd", image, jnp.asarray(matrix), precision="highest")


def _steps(quality, channels):
    """libjpeg's quantisation steps, float32 [8, 8, C]."""
    tables = np.stack([LUMINANCE, CHROMINANCE, CHROMINANCE][:channels], axis=-1)
    percent = jnp.floor(jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality))
    return jnp.clip(jnp.floor((tables * percent + 50) / 100), 1, 255)


def _cosines():
    """The orthonormal DCT-II of 8 values, float32 [8 frequencies, 8 places]."""
    frequency, place = np.mgrid[:BLOCK, :BLOCK]
    waves = np.cos((2 * place + 1) * frequency * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)
