"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), the graph of `keras.applications`.

Layers carry keras' names, so weights are copied by name.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.preprocess import preprocess


class VGG(nn.Module):
    """Images [B, H, W, 3] in [0, 255] to stages, pooled features or logits.

    num_classes None gives {stride: features}: the last activation of each of the five blocks at
    strides 1 to 16, and the last pooling at 32. 0 gives pooled features [B, C]. N gives logits
    [B, N] in float32 through keras' two hidden layers, whose size ties them to one image size.
    Pooling rounds sizes down. VGG has no batch norm: `bn_momentum`, `frozen` and `train` are there
    because every encoder takes them.
    """

    repeats: Sequence[int] = (2, 2, 3, 3, 3)
    filters: Sequence[int] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    num_classes: int | None = None
    bn_momentum: float = 0.99
    frozen: Sequence[str] = ()
    dtype: Any = jnp.float32

    preprocessing = "bgr_minus_mean"

    @nn.compact
    def __call__(self, images, train: bool):
        del train
        init = nn.initializers.he_normal()
        conv = functools.partial(
            nn.Conv,
            kernel_size=(3, 3),
            dtype=self.dtype,
            kernel_init=init,
            conv_general_dilated=conv_general_dilated,
        )
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=init)
        x = preprocess(images, self.preprocessing, self.dtype)
        stages = {}
        for block, (repeat, filters) in enumerate(zip(self.repeats, self.filters, strict=True)):
            for i in range(repeat):
                x = nn.relu(conv(filters, name=f"block{block + 1}_conv{i + 1}")(x))
            stages[2**block] = x
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        stages[2 ** len(self.repeats)] = x
        if self.num_classes is None:
            return stages
        if not self.num_classes:
            return x.mean(axis=(1, 2)).astype(jnp.float32)
        x = x.reshape(len(x), -1)  # [B, H/32 * W/32 * C]
        x = nn.relu(dense(self.hidden, name="fc1")(x))
        x = nn.relu(dense(self.hidden, name="fc2")(x))
        return dense(self.num_classes, name="predictions")(x).astype(jnp.float32)

    def layer_order(self):
        """Names of the layers that hold variables, from input to output."""
        names = [
            f"block{block + 1}_conv{i + 1}"
            for block, repeat in enumerate(self.repeats)
            for i in range(repeat)
        ]
        return names + (["fc1", "fc2", "predictions"] if self.num_classes else [])


VGG16 = VGG
VGG19 = functools.partial(VGG, repeats=(2, 2, 4, 4, 4))
VGGTiny = functools.partial(VGG, repeats=(1, 1, 1, 1, 2), filters=(4, 8, 8, 8, 8), hidden=16)
