"""Attention for feature maps: channels, places, or both; every block keeps the map's shape.

se           squeeze and excitation: a gate for every channel
channel      CBAM's gate for every channel
spatial      CBAM's gate for every place
cbam         channel, then spatial
sa           every place sees every other (SAGAN), begun at no effect
mhsa         multi-head self-attention over the places, added to the map
transformer  the same and a two-layer perceptron: one encoder block
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.errors import UserError


class SqueezeExcite(nn.Module):
    """Hu et al. 2017 (arXiv 1709.01507): [B, H, W, C] -> [B, H, W, C].

    2 C^2 / r + C / r + C parameters.
    """

    reduction: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        gate = x.mean(axis=(1, 2))  # [B, C]
        gate = nn.Dense(max(1, channels // self.reduction), dtype=self.dtype, name="reduce")(gate)
        gate = nn.Dense(channels, dtype=self.dtype, name="expand")(nn.relu(gate))
        return x * nn.sigmoid(gate)[:, None, None, :]


class ChannelGate(nn.Module):
    """The channel half of CBAM (Woo et al. 2018, arXiv 1807.06521), section 3.

    One perceptron for the mean and the maximum over all places: 2 C^2 / r + C / r + C parameters.
    """

    reduction: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        reduce = nn.Dense(max(1, channels // self.reduction), dtype=self.dtype, name="reduce")
        expand = nn.Dense(channels, dtype=self.dtype, name="expand")
        gate = sum(expand(nn.relu(reduce(p))) for p in (x.mean(axis=(1, 2)), x.max(axis=(1, 2))))
        return x * nn.sigmoid(gate)[:, None, None, :]


class SpatialGate(nn.Module):
    """The spatial half of CBAM: one 7x7 convolution of channel mean and maximum, 98 parameters."""

    kernel: int = 7
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        pooled = jnp.stack([x.mean(axis=-1), x.max(axis=-1)], axis=-1)  # [B, H, W, 2]
        conv = nn.Conv(1, (self.kernel,) * 2, use_bias=False, dtype=self.dtype, name="conv")
        return x * nn.sigmoid(conv(pooled))


class CBAM(nn.Module):
    """Channel gate, then spatial gate (Woo et al. 2018): 2 C^2 / r + C / r + C + 98 parameters."""

    reduction: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = ChannelGate(self.reduction, self.dtype, name="channel")(x)
        return SpatialGate(dtype=self.dtype, name="spatial")(x)


class SelfAttention2D(nn.Module):
    """Self-attention of SAGAN (Zhang et al. 2018, arXiv 1805.08318): C^2 / 2 + 1 parameters.

    Keys, queries and values have C / 8 channels and no bias. The share `gamma` with which the
    result joins the map begins at 0: the network learns near things first.
    """

    reduction: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        b, h, w, channels = x.shape
        inner = max(1, channels // self.reduction)
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
        tokens = x.reshape(b, h * w, channels)
        query, key, value = (dense(inner, name=n)(tokens) for n in ("query", "key", "value"))
        scores = jnp.einsum("bqc,bkc->bqk", query, key).astype(jnp.float32)
        mixed = jax.nn.softmax(scores, axis=-1).astype(self.dtype) @ value  # [B, H * W, C / 8]
        gamma = self.param("gamma", nn.initializers.zeros, ())
        out = dense(channels, name="out")(mixed).reshape(x.shape)
        return x + gamma.astype(self.dtype) * out


class MultiHeadSelfAttention(nn.Module):
    """x + attention(norm(x + positions)) over the places of a map: 4 C^2 + 6 C parameters."""

    heads: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        b, h, w, channels = x.shape
        heads = max(n for n in range(1, self.heads + 1) if channels % n == 0)
        tokens = x.reshape(b, h * w, channels)
        y = tokens + jnp.asarray(positions_2d(h, w, channels), self.dtype)
        y = nn.LayerNorm(dtype=self.dtype, name="norm")(y)
        attention = nn.MultiHeadDotProductAttention(
            heads, dtype=self.dtype, force_fp32_for_softmax=True, name="attention"
        )
        return (tokens + attention(y)).reshape(x.shape)


class TransformerBlock(nn.Module):
    """One pre-norm encoder block over the places of a map: 12 C^2 + 13 C parameters.

    Vaswani et al. 2017 (arXiv 1706.03762), normed before as in ViT (arXiv 2010.11929): multi-head
    self-attention, then a perceptron of 4 C hidden units, each added to what came in.
    """

    heads: int = 4
    expansion: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = MultiHeadSelfAttention(self.heads, self.dtype, name="self_attention")(x)
        y = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        y = nn.Dense(self.expansion * x.shape[-1], dtype=self.dtype, name="wide")(y)
        return x + nn.Dense(x.shape[-1], dtype=self.dtype, name="narrow")(nn.gelu(y))


def positions_2d(height: int, width: int, channels: int) -> np.ndarray:
    """Sines and cosines of row and column, float32 [height * width, channels]; no parameters.

    A quarter of the channels each for sine and cosine of the row and of the column, wavelengths
    from 2 pi to 20,000 pi places as in Vaswani et al.; channels beyond a multiple of 4 hold 0.
    """
    count = channels // 4
    rates = 1.0 / 10_000 ** (np.arange(count) / max(count, 1))
    rows, columns = np.divmod(np.arange(height * width), width)
    angles = [at[:, None] * rates for at in (rows, columns)]  # [H * W, C / 4] each
    waves = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
    return np.pad(waves, ((0, 0), (0, channels - 4 * count))).astype(np.float32)


KINDS = {
    "se": SqueezeExcite,
    "channel": ChannelGate,
    "spatial": SpatialGate,
    "cbam": CBAM,
    "sa": SelfAttention2D,
    "mhsa": MultiHeadSelfAttention,
    "transformer": TransformerBlock,
}


def attend(x, kind: str, name: str, dtype: Any):
    """The block `kind`, called `name`, on a map [B, H, W, C]; '' leaves the map as it is."""
    return KINDS[kind](dtype=dtype, name=name)(x) if kind else x


def attend_after(x, kinds, stage: int, dtype: Any):
    """The block that `kinds`, one for each stage from 0 on, has for `stage`; none left: none."""
    return attend(x, kinds[stage] if stage < len(kinds) else "", f"attention{stage + 1}", dtype)


def check_kinds(kinds) -> None:
    """Raises UserError where a name is no kind of attention."""
    for kind in kinds:
        if kind and kind not in KINDS:
            raise UserError(f"no attention is called {kind!r}: use one of {', '.join(KINDS)}, ''")
