"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), the graph of `keras.applications`.

Layers carry keras' names, so weights are copied by name.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.attention import attend, attend_after
from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.norm import batch_norm
from jaxvision.models.pool import Flatten, MaxPool, MeanPool
from jaxvision.models.preprocess import preprocess


class VGG(nn.Module):
    """Images [B, H, W, 3] in [0, 255] to stages, pooled features or logits.

    num_classes None gives {stride: features}: the last activation of each of the five blocks at
    strides 1 to 16, and the last pooling at 32. 0 gives pooled features [B, C]. N gives logits
    [B, N] in float32 through keras' two hidden layers, whose size ties them to one image size.
    Pooling rounds sizes down.

    With `batch_norm` one follows every convolution, as in torchvision's vgg16_bn; keras' VGG has
    none, and there `bn_momentum`, `frozen` and `train` have no meaning. `flatten` gives all places
    of the last map in place of their mean where num_classes is 0. `attention` holds a kind of
    `models/attention.py`, or '', for each block, whose last activation it follows;
    `head_attention` is on the last pooling. `remat` keeps only the blocks' inputs for the gradient.
    """

    repeats: Sequence[int] = (2, 2, 3, 3, 3)
    filters: Sequence[int] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    batch_norm: bool = False
    flatten: bool = False
    attention: Sequence[str] = ()
    head_attention: str = ""
    remat: bool = False
    num_classes: int | None = None
    bn_momentum: float = 0.99
    frozen: Sequence[str] = ()
    dtype: Any = jnp.float32

    preprocessing = "bgr_minus_mean"

    @nn.compact
    def __call__(self, images, train: bool):
        init = nn.initializers.he_normal()
        conv = functools.partial(
            nn.Conv,
            kernel_size=(3, 3),
            use_bias=not self.batch_norm,
            dtype=self.dtype,
            kernel_init=init,
            conv_general_dilated=conv_general_dilated,
        )
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=init)
        norm = functools.partial(
            batch_norm, train, self.frozen, momentum=self.bn_momentum, dtype=self.dtype
        )
        x = preprocess(images, self.preprocessing, self.dtype)
        stages = {}
        for block, (repeat, filters) in enumerate(zip(self.repeats, self.filters, strict=True)):

            def run(module, x, block=block, repeat=repeat, filters=filters):
                for i in range(repeat):
                    name = f"block{block + 1}_conv{i + 1}"
                    x = conv(filters, name=name)(x)
                    x = nn.relu(norm(name=f"{name}_bn")(x) if self.batch_norm else x)
                return x

            x = (nn.remat(run) if self.remat else run)(self, x)
            x = attend_after(x, self.attention, block, self.dtype)
            stages[2**block] = x
            x = MaxPool(name=f"block{block + 1}_pool")(x)
        stages[2 ** len(self.repeats)] = x
        if self.num_classes is None:
            return stages
        x = attend(x, self.head_attention, "head_attention", self.dtype)
        if not self.num_classes:
            pool = Flatten if self.flatten else MeanPool
            return pool(name="pool")(x).astype(jnp.float32)  # [B, C] or [B, H/32 * W/32 * C]
        x = x.reshape(x.shape[0], -1)  # [B, H/32 * W/32 * C]
        x = nn.relu(dense(self.hidden, name="fc1")(x))
        x = nn.relu(dense(self.hidden, name="fc2")(x))
        return dense(self.num_classes, name="predictions")(x).astype(jnp.float32)

    @property
    def cam_layer(self):
        """The module whose input Grad-CAM looks at: the last map before it is pooled."""
        return f"block{len(self.repeats)}_pool"

    def layer_order(self):
        """Names of the layers that hold variables, from input to output."""
        names = [
            f"block{block + 1}_conv{i + 1}{part}"
            for block, repeat in enumerate(self.repeats)
            for i in range(repeat)
            for part in (("", "_bn") if self.batch_norm else ("",))
        ]
        return names + (["fc1", "fc2", "predictions"] if self.num_classes else [])


VGG16 = VGG
VGG19 = functools.partial(VGG, repeats=(2, 2, 4, 4, 4))
# torch counts momentum the other way round: its 0.1 is 0.9 here.
VGG16BN = functools.partial(VGG, batch_norm=True, bn_momentum=0.9)
# Khaireddin and Chen 2021 (arXiv:2105.03588): four stages of two convolutions, for 40 pixel crops.
VGGFace = functools.partial(
    VGG16BN, repeats=(2, 2, 2, 2), filters=(64, 128, 256, 512), flatten=True
)
VGGTiny = functools.partial(VGG, repeats=(1, 1, 1, 1, 2), filters=(4, 8, 8, 8, 8), hidden=16)
