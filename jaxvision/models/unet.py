"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597) on an encoder that returns its stages."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.preprocess import minus_one_to_one

STRIDE = 32  # of the encoder's deepest stage


class UNet(nn.Module):
    """Images [B, H, W, 3] in [0, 255] to logits float32 [B, H, W] or [B, H, W, K], of any size.

    Attributes:
      encoder: images -> {stride: features} for strides 2, 4, 8, 16 and 32.
      widths: channels of the up-blocks at strides 16, 8, 4 and 2, and at full resolution.
      classes: K; 0: one logit a pixel, of what is to be found.
      bn_momentum: of the decoder's batch norm.
      dtype: of the compute; parameters are float32.
    """

    encoder: nn.Module
    widths: Sequence[int] = (64, 48, 32, 16, 8)
    classes: int = 0
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool):
        height, width = images.shape[1:3]
        # Whole strides, so that every up-block meets its skip; the edge repeats, as black would
        # look like shadow.
        padding = ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
        images = jnp.pad(images, padding, mode="edge")
        pixels = minus_one_to_one(images, self.dtype)
        stages = self.encoder(images, train)
        x = stages[STRIDE]  # [B, H/32, W/32, C]
        for stride, channels in zip((16, 8, 4, 2), self.widths[:4], strict=True):
            x = jnp.concatenate([upsample(x), stages[stride].astype(self.dtype)], axis=-1)
            x = self._conv_block(x, channels, train, f"up{stride}_a")
            x = self._conv_block(x, channels, train, f"up{stride}_b")  # [B, H/stride, W/stride, C]
        # The photo itself is the skip of full resolution: outlines are as sharp as its pixels.
        x = jnp.concatenate([upsample(x), pixels], axis=-1)
        x = self._conv_block(x, self.widths[4], train, "up1")  # [B, H, W, C]
        x = nn.Conv(self.classes or 1, (1, 1), dtype=self.dtype, name="head")(x)
        inside = np.s_[:, :height, :width] if self.classes else np.s_[:, :height, :width, 0]
        return x[inside].astype(jnp.float32)

    def _conv_block(self, x, channels, train, name):
        conv = functools.partial(
            nn.Conv,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=conv_general_dilated,
        )
        x = conv(channels, (3, 3), name=name)(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            dtype=self.dtype,
            name=f"{name}_bn",
        )(x)
        return nn.relu(x)


def upsample(x):
    """Each pixel becomes 2 x 2: [B, H, W, C] -> [B, 2H, 2W, C].

    No transposed convolution: its weight gradient takes 30 times as long on XLA's CPU backend, and
    its strides leave checkerboards.
    """
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
