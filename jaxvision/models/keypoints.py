"""Networks that locate named points in small pictures; two kinds, one output.

Positions are (x, y) in pixels of the input, (0, 0) at the centre of the top left pixel, x to the
right and y down.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.unet import upsample

STRIDE = 2  # input pixels a heatmap cell is wide


class Located(NamedTuple):
    """What both networks return.

    Attributes:
      points: float32 [B, K, 2], x and y in pixels.
      spread: float32 [B, K], the error in pixels that the network expects of itself.
      heatmaps: float32 [B, H / 2, W / 2, K], each of sum 1 over a picture (rounded up to whole
        cells); None from CoordinateNet.
    """

    points: jax.Array
    spread: jax.Array
    heatmaps: jax.Array | None


class HeatmapNet(nn.Module):
    """A small hourglass with one heatmap a point and soft-argmax (DSNT, Nibali 2018, 1801.07372).

    Three scales, joined by addition on the way up (Newell et al. 2016, 1603.06937). It is fully
    convolutional: any picture size.

    Attributes:
      points: how many.
      widths: channels at strides 2, 4 and 8.
      bn_momentum, dtype: of the batch norm; of the compute (parameters are float32).
    """

    points: int
    widths: Sequence[int] = (16, 32, 48)
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool) -> Located:
        block = functools.partial(
            _conv_block, train=train, momentum=self.bn_momentum, dtype=self.dtype
        )
        fine, middle, coarse = self.widths
        x = space_to_depth(standardize(images, self.dtype))  # [B, H/2, W/2, 4 C]
        x = skip2 = block(block(x, fine, name="stem"), fine, name="fine")
        x = block(x, middle, stride=2, name="down4")  # [B, H/4, W/4, .]
        x = skip4 = block(x, middle, name="middle")
        x = block(x, coarse, stride=2, name="down8")  # [B, H/8, W/8, .]
        x = block(x, coarse, name="coarse")
        x = _join(block(x, middle, kernel=1, name="up4"), skip4)
        x = block(x, middle, name="middle_up")
        x = _join(block(x, fine, kernel=1, name="up2"), skip2)
        x = block(x, fine, name="fine_up")
        logits = nn.Conv(self.points, (1, 1), dtype=self.dtype, name="head")(x)
        heatmaps = spatial_softmax(logits.astype(jnp.float32))
        points, spread = soft_argmax(heatmaps)
        return Located(points, spread, heatmaps)


class CoordinateNet(nn.Module):
    """Convolutions and pooling, then dense layers to the coordinates themselves.

    The plain regression that small tracking projects begin with. The picture size is fixed by the
    first call.

    Attributes:
      points: how many.
      widths: channels of the convolutions; each but the last is followed by 2 x 2 max pooling.
      hidden: units of the dense layer.
      bn_momentum, dtype: as HeatmapNet.
    """

    points: int
    widths: Sequence[int] = (16, 32, 64, 64)
    hidden: int = 128
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool) -> Located:
        block = functools.partial(
            _conv_block, train=train, momentum=self.bn_momentum, dtype=self.dtype
        )
        height, width = images.shape[1:3]
        x = standardize(images, self.dtype)
        for i, channels in enumerate(self.widths):
            if i:
                x = nn.max_pool(x, (2, 2), (2, 2), "SAME")
            x = block(x, channels, name=f"conv{i}")  # [B, H / 2^i, W / 2^i, channels]
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        x = nn.Dense(3 * self.points, name="head")(x.astype(jnp.float32))
        x = x.reshape(-1, self.points, 3)
        # 0 is the picture's centre and 1 a quarter of its sides.
        size = jnp.array([width, height], jnp.float32)
        points = (size - 1) / 2 + x[..., :2] * size / 4
        return Located(points, nn.softplus(x[..., 2] + 1.0), None)


def standardize(images, dtype):
    """uint8 or float [B, H, W, C] to zero mean and unit deviation, each picture by itself.

    So neither exposure nor contrast of a recording matters.
    """
    images = images.astype(jnp.float32)
    mean = images.mean((1, 2, 3), keepdims=True)
    deviation = jnp.sqrt(((images - mean) ** 2).mean((1, 2, 3), keepdims=True))
    return ((images - mean) / (deviation + 1.0)).astype(dtype)


def space_to_depth(x):
    """[B, H, W, C] -> [B, H/2, W/2, 4 C]; odd sides grow by a copy of their last row or column."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    h, w = x.shape[1] // 2, x.shape[2] // 2
    return x.reshape(b, h, 2, w, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h, w, 4 * c)


def spatial_softmax(logits):
    """Softmax over the cells of each map: float32 [B, h, w, K]."""
    b, h, w, k = logits.shape
    return jax.nn.softmax(logits.reshape(b, h * w, k), axis=1).reshape(b, h, w, k)


def cell_centres(h: int, w: int):
    """Positions of the heatmap cells in input pixels: float32 [h, w, 2], x and y."""
    ys, xs = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
    return jnp.stack([xs, ys], -1) * STRIDE + (STRIDE - 1) / 2


def soft_argmax(heatmaps):
    """Mean position of each heatmap, and the root mean square distance from it, in pixels.

    Args:
      heatmaps: float32 [B, h, w, K] of sum 1 over h and w.

    Returns:
      float32 [B, K, 2] and [B, K].
    """
    cells = cell_centres(*heatmaps.shape[1:3])
    # Shares times positions of up to some hundred pixels: TF32 would be a tenth of a pixel off.
    points = jnp.einsum("bhwk,hwc->bkc", heatmaps, cells, precision=jax.lax.Precision.HIGHEST)
    # About the mean, not as a difference of two large sums, of which rounding would be left.
    squares = ((cells[None, :, :, None] - points[:, None, None]) ** 2).sum(-1)  # [B, h, w, K]
    variance = (heatmaps * squares).sum((1, 2))
    return points, jnp.sqrt(variance + 1e-6)


def _conv_block(x, channels, *, train, momentum, dtype, name, kernel=3, stride=1):
    x = nn.Conv(
        channels,
        (kernel, kernel),
        (stride, stride),
        use_bias=False,
        dtype=dtype,
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )(x)
    x = nn.BatchNorm(not train, momentum=momentum, dtype=dtype, name=f"{name}_bn")(x)
    return nn.relu(x)


def _join(coarse, fine):
    """Doubles the coarse map's size and adds it to the fine one, which may be odd."""
    return fine + upsample(coarse)[:, : fine.shape[1], : fine.shape[2]]


def peak_position(heatmaps, radius: int):
    """Mean position about the highest cell of each heatmap, in pixels: float32 [B, K, 2].

    Where a map has two peaks (is this the head or the tail?) the mean over all of it lies between
    them, where nothing is.

    Args:
      heatmaps: float32 [B, h, w, K].
      radius: cells about the highest that count.
    """
    b, h, w, k = heatmaps.shape
    top = jnp.argmax(heatmaps.reshape(b, h * w, k), axis=1)  # [B, K]
    near = (jnp.abs(jnp.arange(h)[:, None] - top[:, None] // w) <= radius)[:, :, None]
    near = near & (jnp.abs(jnp.arange(w)[:, None] - top[:, None] % w) <= radius)[:, None]
    local = jnp.where(near, heatmaps, 0)  # [B, h, w, K]
    local = local / local.sum((1, 2), keepdims=True)
    return jnp.einsum(
        "bhwk,hwc->bkc", local, cell_centres(h, w), precision=jax.lax.Precision.HIGHEST
    )


def gaussian_targets(points, h: int, w: int, sigma: float):
    """Heatmaps of sum 1 with a Gaussian of `sigma` pixels at each point: [B, h, w, K]."""
    cells = cell_centres(h, w)
    squares = ((cells[None, :, :, None] - points[:, None, None]) ** 2).sum(-1)  # [B, h, w, K]
    return spatial_softmax(-squares / (2 * sigma**2))
