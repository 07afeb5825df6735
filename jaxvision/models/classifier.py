"""A classifier: an encoder's features, hidden layers where wanted, dropout and a linear head."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn


class Classifier(nn.Module):
    """Images [B, H, W, C] in [0, 255], gray or RGB, to logits float32 [B, num_classes].

    Attributes:
      encoder: images -> features [B, F] (num_classes=0).
      num_classes: outputs.
      hidden: widths of the layers between features and head, each with ReLU and dropout.
      dropout: of the features, and of the hidden layers.
      gray_to_rgb: repeat a gray image's channel three times, as encoders made for photos need.
      dtype: of the compute; parameters are float32.
    """

    encoder: nn.Module
    num_classes: int
    hidden: Sequence[int] = ()
    dropout: float = 0.0
    gray_to_rgb: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool):
        if images.shape[-1] == 1 and self.gray_to_rgb:
            images = jnp.repeat(images, 3, axis=-1)
        x = self.encoder(images, train).astype(self.dtype)  # [B, F]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"hidden{i + 1}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)
