"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), the graph of `keras.applications`.

Layers carry keras' names, so weights are copied by name. Keras pads a stride 2 depthwise with
`correct_pad` and then convolves VALID; for an input of known size that is what SAME pads, even or
odd (even: 0 before and 1 after, odd: 1 and 1), so SAME is used throughout.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.attention import attend, attend_after
from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.norm import batch_norm
from jaxvision.models.pool import MeanPool
from jaxvision.models.preprocess import preprocess

# Filters and stride of the seven groups of blocks, table 2 of the paper. Every block but the
# very first expands its input six times.
GROUPS = ((16, 1), (24, 2), (32, 2), (64, 2), (96, 1), (160, 2), (320, 1))


class MobileNetV2(nn.Module):
    """Images [B, H, W, 3] in [0, 255] to stages, pooled features or logits.

    num_classes None gives {stride: features}, where the features of strides 2 to 16 are the
    expanded activations before each downsampling (the taps of DeepLabV3+ and of keras' pix2pix
    U-Net) and those of stride 32 the last block's projection. 0 gives pooled features [B, C], N
    gives logits [B, N] in float32. Sizes that no stride divides round up.

    `attention` holds a kind of `models/attention.py`, or '', for each of the seven groups of
    blocks, whose output it follows; `block_attention` is inside every block, on what may be added
    to its input; `head_attention` before the pooling. `remat` keeps only the blocks' inputs for
    the gradient.
    """

    width: float = 1.0
    num_classes: int | None = None
    bn_momentum: float = 0.999
    frozen: Sequence[str] = ()
    dtype: Any = jnp.float32
    repeats: Sequence[int] = (1, 2, 3, 4, 3, 3, 1)
    attention: Sequence[str] = ()
    block_attention: str = ""
    head_attention: str = ""
    remat: bool = False

    preprocessing = "minus_one_to_one"
    cam_layer = "pool"  # Grad-CAM looks at its input

    @nn.compact
    def __call__(self, images, train: bool):
        conv, norm = self._layers(train)
        x = preprocess(images, self.preprocessing, self.dtype)
        x = conv(divisible(32 * self.width), (3, 3), strides=2, name="Conv1")(x)
        x = nn.relu6(norm(name="bn_Conv1")(x))
        stages, stride = {}, 2
        ends = list(itertools.accumulate(self.repeats))  # blocks up to the end of each group
        for i, shape in enumerate(self._blocks()):

            def run(module, x, shape=shape):
                return module._block(x, *shape, conv, norm)

            x, expanded = (nn.remat(run) if self.remat else run)(self, x)
            if shape[2] == 2:
                stages[stride] = expanded
                stride *= 2
            if i + 1 in ends:
                x = attend_after(x, self.attention, ends.index(i + 1), self.dtype)
        stages[stride] = x
        if self.num_classes is None:
            return stages
        x = conv(divisible(1280 * max(1.0, self.width)), (1, 1), name="Conv_1")(x)
        x = nn.relu6(norm(name="Conv_1_bn")(x))
        x = attend(x, self.head_attention, "head_attention", self.dtype)
        x = MeanPool(name="pool")(x)  # [B, C]
        if self.num_classes:
            x = nn.Dense(self.num_classes, dtype=self.dtype, name="predictions")(x)
        return x.astype(jnp.float32)

    def _layers(self, train):
        conv = functools.partial(
            nn.Conv,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=conv_general_dilated,
        )
        norm = functools.partial(
            batch_norm,
            train,
            self.frozen,
            momentum=self.bn_momentum,
            epsilon=1e-3,
            dtype=self.dtype,
        )
        return conv, norm

    def _block(self, x, prefix, filters, stride, conv, norm):
        """Inverted residual block: the output, and the expanded activation inside it."""
        inputs, in_channels = x, x.shape[-1]
        if prefix != "expanded_conv":
            x = conv(6 * in_channels, (1, 1), name=f"{prefix}_expand")(x)
            x = nn.relu6(norm(name=f"{prefix}_expand_BN")(x))
        expanded, channels = x, x.shape[-1]
        depthwise = functools.partial(conv, channels, (3, 3), feature_group_count=channels)
        x = depthwise(strides=stride, name=f"{prefix}_depthwise")(x)
        x = nn.relu6(norm(name=f"{prefix}_depthwise_BN")(x))
        x = conv(filters, (1, 1), name=f"{prefix}_project")(x)
        x = norm(name=f"{prefix}_project_BN")(x)
        x = attend(x, self.block_attention, f"{prefix}_attention", self.dtype)
        if stride == 1 and in_channels == filters:
            x = inputs + x
        return x, expanded

    def _blocks(self):
        """(layer prefix, filters, stride) of every block, in order."""
        blocks = []
        for (filters, stride), repeat in zip(GROUPS, self.repeats, strict=True):
            for i in range(repeat):
                prefix = f"block_{len(blocks)}" if blocks else "expanded_conv"
                width = divisible(int(filters * self.width))
                blocks.append((prefix, width, stride if i == 0 else 1))
        return blocks

    def layer_order(self):
        """Names of the layers that hold variables, from input to output."""
        names = ["Conv1", "bn_Conv1"]
        for prefix, _, _ in self._blocks():
            parts = ("depthwise", "project")
            if prefix != "expanded_conv":
                parts = ("expand", *parts)
            names += [f"{prefix}_{part}{suffix}" for part in parts for suffix in ("", "_BN")]
        if self.num_classes is not None:
            names += ["Conv_1", "Conv_1_bn"]
        if self.num_classes:
            names.append("predictions")
        return names


# Seven blocks of 8 to 32 channels: every kind of layer, compiled in seconds.
MobileNetV2Tiny = functools.partial(MobileNetV2, width=0.1, repeats=(1,) * 7)


def divisible(channels, divisor=8):
    """To the nearest multiple of `divisor`, at most 10% down (keras' _make_divisible)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
