"""EfficientNet (Tan and Le 2019, arXiv:1905.11946), the graph of `keras.applications`.

Layers carry keras' names, so weights are copied by name. Keras scales the input in its first
layers, whose statistics are constants of ImageNet; here they are the `unit_mean_std` scaling and
not variables. As in MobileNetV2, keras' `correct_pad` and VALID are what SAME pads.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.attention import attend, attend_after
from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.mobilenet_v2 import divisible
from jaxvision.models.norm import batch_norm
from jaxvision.models.pool import MeanPool
from jaxvision.models.preprocess import preprocess

# Kernel, filters, stride and expansion of the seven groups of blocks, table 1 of the paper.
GROUPS = (
    (3, 16, 1, 1),
    (3, 24, 2, 6),
    (5, 40, 2, 6),
    (3, 80, 2, 6),
    (5, 112, 1, 6),
    (5, 192, 2, 6),
    (3, 320, 1, 6),
)
SQUEEZE = 0.25  # hidden channels of squeeze and excitation, as a share of the block's input


class EfficientNet(nn.Module):
    """Images [B, H, W, 3] in [0, 255] to stages, pooled features or logits.

    num_classes None gives {stride: features}, where the features of strides 2 to 16 are the
    expanded activations before each downsampling and those of stride 32 the last block's output. 0
    gives pooled features [B, C], N gives logits [B, N] in float32. Sizes that no stride divides
    round up. `width` and `depth` scale channels and repeats. With train=True it takes the rng
    'dropout': `drop_connect_rate` drops whole residual branches, more often the deeper they are
    (arXiv:1603.09382), `dropout_rate` drops pooled features; neither does in frozen layers.

    `attention` holds a kind of `models/attention.py`, or '', for each of the seven groups of
    blocks, whose output it follows; `block_attention` is inside every block, on what may be added
    to its input, beside the squeeze and excitation that it has anyway; `head_attention` before the
    pooling. `remat` keeps only the blocks' inputs for the gradient.
    """

    width: float = 1.0
    depth: float = 1.0
    dropout_rate: float = 0.2
    drop_connect_rate: float = 0.2
    num_classes: int | None = None
    bn_momentum: float = 0.99
    frozen: Sequence[str] = ()
    dtype: Any = jnp.float32
    repeats: Sequence[int] = (1, 2, 2, 3, 3, 4, 1)
    attention: Sequence[str] = ()
    block_attention: str = ""
    head_attention: str = ""
    remat: bool = False

    preprocessing = "unit_mean_std"
    cam_layer = "pool"  # Grad-CAM looks at its input

    @nn.compact
    def __call__(self, images, train: bool):
        conv, norm = self._layers(train)
        x = preprocess(images, self.preprocessing, self.dtype)
        x = conv(divisible(32 * self.width), (3, 3), strides=2, name="stem_conv")(x)
        x = nn.swish(norm(name="stem_bn")(x))
        inner = functools.partial(attend, kind=self.block_attention, dtype=self.dtype)
        stages, stride, blocks = {}, 2, self._blocks()
        for i, (prefix, *shape) in enumerate(blocks):
            drop = nn.Dropout(
                self.drop_connect_rate * i / len(blocks),
                broadcast_dims=(1, 2, 3),
                deterministic=not train or f"{prefix}_project_bn" in self.frozen,
            )

            def run(module, x, prefix=prefix, shape=shape, drop=drop):
                return _block(x, prefix, *shape, conv, norm, inner, drop)

            x, expanded = (nn.remat(run) if self.remat else run)(self, x)
            if shape[2] == 2:
                stages[stride] = expanded
                stride *= 2
            group = prefix[: len("block1")]
            if i + 1 == len(blocks) or not blocks[i + 1][0].startswith(group):
                x = attend_after(x, self.attention, int(group[-1]) - 1, self.dtype)
        stages[stride] = x
        if self.num_classes is None:
            return stages
        x = conv(divisible(1280 * self.width), (1, 1), name="top_conv")(x)
        x = nn.swish(norm(name="top_bn")(x))
        x = attend(x, self.head_attention, "head_attention", self.dtype)
        x = MeanPool(name="pool")(x)  # [B, C]
        if self.num_classes:
            fixed = not train or "predictions" in self.frozen
            x = nn.Dropout(self.dropout_rate, deterministic=fixed)(x)
            init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")
            dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=init)
            x = dense(self.num_classes, name="predictions")(x)
        return x.astype(jnp.float32)

    def _layers(self, train):
        conv = functools.partial(
            nn.Conv,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal"),
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

    def _blocks(self):
        """(layer prefix, kernel, filters, stride, expansion) of every block, in order."""
        blocks = []
        for group, (shape, repeat) in enumerate(zip(GROUPS, self.repeats, strict=True)):
            kernel, filters, stride, expansion = shape
            filters = divisible(filters * self.width)
            for i in range(math.ceil(self.depth * repeat)):
                prefix = f"block{group + 1}{chr(ord('a') + i)}"
                blocks.append((prefix, kernel, filters, 1 if i else stride, expansion))
        return blocks

    def layer_order(self):
        """Names of the layers that hold variables, from input to output."""
        names = ["stem_conv", "stem_bn"]
        for prefix, _, _, _, expansion in self._blocks():
            parts = ["dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn"]
            if expansion != 1:
                parts = ["expand_conv", "expand_bn", *parts]
            names += [f"{prefix}_{part}" for part in parts]
        if self.num_classes is not None:
            names += ["top_conv", "top_bn"]
        return names + (["predictions"] if self.num_classes else [])


def _block(x, prefix, kernel, filters, stride, expansion, conv, norm, inner, drop):
    """Inverted residual with squeeze and excitation: the output, and the expanded activation."""
    inputs, in_channels = x, x.shape[-1]
    if expansion != 1:
        x = conv(expansion * in_channels, (1, 1), name=f"{prefix}_expand_conv")(x)
        x = nn.swish(norm(name=f"{prefix}_expand_bn")(x))
    expanded, channels = x, x.shape[-1]
    x = conv(
        channels,
        (kernel, kernel),
        strides=stride,
        feature_group_count=channels,
        # Keras counts one output a channel; flax's fan_out would count them all.
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal"),
        name=f"{prefix}_dwconv",
    )(x)
    x = nn.swish(norm(name=f"{prefix}_bn")(x))
    x = x * _squeeze_excite(x, prefix, max(1, int(in_channels * SQUEEZE)), conv)
    x = conv(filters, (1, 1), name=f"{prefix}_project_conv")(x)
    x = inner(norm(name=f"{prefix}_project_bn")(x), name=f"{prefix}_attention")
    if stride == 1 and in_channels == filters:
        x = drop(x) + inputs
    return x, expanded


def _squeeze_excite(x, prefix, hidden, conv):
    """A gate in [0, 1] for every channel, [B, 1, 1, C] (arXiv:1709.01507)."""
    gate = x.mean(axis=(1, 2), keepdims=True)
    gate = nn.swish(conv(hidden, (1, 1), use_bias=True, name=f"{prefix}_se_reduce")(gate))
    gate = conv(x.shape[-1], (1, 1), use_bias=True, name=f"{prefix}_se_expand")(gate)
    return nn.sigmoid(gate)


EfficientNetB0 = EfficientNet
EfficientNetB1 = functools.partial(EfficientNet, width=1.0, depth=1.1, dropout_rate=0.2)
EfficientNetB2 = functools.partial(EfficientNet, width=1.1, depth=1.2, dropout_rate=0.3)
EfficientNetB3 = functools.partial(EfficientNet, width=1.2, depth=1.4, dropout_rate=0.3)
EfficientNetB4 = functools.partial(EfficientNet, width=1.4, depth=1.8, dropout_rate=0.4)
EfficientNetB5 = functools.partial(EfficientNet, width=1.6, depth=2.2, dropout_rate=0.4)
EfficientNetB6 = functools.partial(EfficientNet, width=1.8, depth=2.6, dropout_rate=0.5)
EfficientNetB7 = functools.partial(EfficientNet, width=2.0, depth=3.1, dropout_rate=0.5)
EfficientNetTiny = functools.partial(EfficientNet, width=0.1, repeats=(1,) * 7)
