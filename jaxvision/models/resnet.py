"""ResNet (He et al. 2015, arXiv:1512.03385).

ResNet50 to 152 are the graph of `keras.applications` (stride on the first 1x1 of a bottleneck,
biased convolutions, Caffe's BGR input), with keras' layer names, so weights are copied by name.
ResNet18 and 34 have no weights there: they are torchvision's basic blocks, for training from
scratch, with layers named in the same way.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.attention import attend, attend_after
from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.norm import batch_norm
from jaxvision.models.pool import MeanPool
from jaxvision.models.preprocess import preprocess


class ResNet(nn.Module):
    """Images [B, H, W, 3] in [0, 255] to stages, pooled features or logits.

    num_classes None gives {stride: features}: the stem's activation at stride 2, the outputs of
    the four groups of blocks at 4 to 32. 0 gives pooled features [B, C], N gives logits [B, N] in
    float32. Sizes that no stride divides round up.

    `attention` holds a kind of `models/attention.py`, or '', for each group of blocks, whose output
    it follows; `block_attention` is inside every block, on the branch that is added to the
    shortcut; `head_attention` before the pooling. With `small_stem` the first convolution is 3x3
    of stride 1 and nothing is pooled after it, for images of some 32 to 64 pixels (He et al.,
    section 4.2): strides are then 1 to 8. `remat` keeps only the blocks' inputs for the gradient.
    """

    repeats: Sequence[int] = (3, 4, 6, 3)
    filters: Sequence[int] = (64, 128, 256, 512)
    bottleneck: bool = True
    num_classes: int | None = None
    bn_momentum: float = 0.99
    frozen: Sequence[str] = ()
    small_stem: bool = False
    attention: Sequence[str] = ()
    block_attention: str = ""
    head_attention: str = ""
    remat: bool = False
    dtype: Any = jnp.float32

    cam_layer = "pool"  # Grad-CAM looks at its input

    @property
    def preprocessing(self):
        return "bgr_minus_mean" if self.bottleneck else "unit_mean_std"

    @nn.compact
    def __call__(self, images, train: bool):
        conv = functools.partial(
            nn.Conv,
            use_bias=self.bottleneck,
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            conv_general_dilated=conv_general_dilated,
        )
        norm = functools.partial(
            batch_norm,
            train,
            self.frozen,
            momentum=self.bn_momentum,
            epsilon=1.001e-5 if self.bottleneck else 1e-5,
            dtype=self.dtype,
        )
        block = _bottleneck if self.bottleneck else _basic
        inner = functools.partial(attend, kind=self.block_attention, dtype=self.dtype)
        x = preprocess(images, self.preprocessing, self.dtype)
        x, stages = self._stem(x, conv, norm)
        blocks = self._blocks()
        for i, (prefix, *shape) in enumerate(blocks):

            def run(module, x, prefix=prefix, shape=shape):
                return block(x, prefix, *shape, conv, norm, inner)

            x = (nn.remat(run) if self.remat else run)(self, x)
            group = int(prefix[len("conv")])
            if i + 1 == len(blocks) or not blocks[i + 1][0].startswith(f"conv{group}_"):
                x = attend_after(x, self.attention, group - 2, self.dtype)
            stages[2**group // (4 if self.small_stem else 1)] = x
        if self.num_classes is None:
            return stages
        x = attend(x, self.head_attention, "head_attention", self.dtype)
        x = MeanPool(name="pool")(x)  # [B, C]
        if self.num_classes:
            x = nn.Dense(self.num_classes, dtype=self.dtype, name="predictions")(x)
        return x.astype(jnp.float32)

    def _stem(self, x, conv, norm):
        """What comes before the blocks, and {stride: features} of it."""
        if self.small_stem:
            x = conv(self.filters[0], (3, 3), padding=1, name="conv1_conv")(x)
            return nn.relu(norm(name="conv1_bn")(x)), {}
        # The padding is explicit because SAME would put nothing before an even side.
        x = conv(self.filters[0], (7, 7), strides=2, padding=3, name="conv1_conv")(x)
        x = nn.relu(norm(name="conv1_bn")(x))
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1))), {2: x}

    def _blocks(self):
        """(layer prefix, filters, stride, whether the shortcut is projected) of every block."""
        blocks = []
        for group, (repeat, filters) in enumerate(zip(self.repeats, self.filters, strict=True)):
            for i in range(repeat):
                first = i == 0
                projected = first and (self.bottleneck or group > 0)
                stride = 2 if first and group > 0 else 1
                blocks.append((f"conv{group + 2}_block{i + 1}", filters, stride, projected))
        return blocks

    def layer_order(self):
        """Names of the layers that hold variables, from input to output."""
        names = ["conv1_conv", "conv1_bn"]
        for prefix, _, _, projected in self._blocks():
            first, last = 0 if projected else 1, 3 if self.bottleneck else 2
            names += [
                f"{prefix}_{i}_{kind}" for i in range(first, last + 1) for kind in ("conv", "bn")
            ]
        return names + (["predictions"] if self.num_classes else [])


def _bottleneck(x, prefix, filters, stride, projected, conv, norm, inner):
    """1x1, 3x3, 1x1 to 4 * filters channels, as keras builds it."""
    shortcut = x
    if projected:
        shortcut = conv(4 * filters, (1, 1), strides=stride, name=f"{prefix}_0_conv")(x)
        shortcut = norm(name=f"{prefix}_0_bn")(shortcut)
    x = conv(filters, (1, 1), strides=stride, name=f"{prefix}_1_conv")(x)
    x = nn.relu(norm(name=f"{prefix}_1_bn")(x))
    x = conv(filters, (3, 3), name=f"{prefix}_2_conv")(x)
    x = nn.relu(norm(name=f"{prefix}_2_bn")(x))
    x = conv(4 * filters, (1, 1), name=f"{prefix}_3_conv")(x)
    x = inner(norm(name=f"{prefix}_3_bn")(x), name=f"{prefix}_attention")
    return nn.relu(shortcut + x)


def _basic(x, prefix, filters, stride, projected, conv, norm, inner):
    """Two 3x3, as torchvision builds it."""
    shortcut = x
    if projected:
        shortcut = conv(filters, (1, 1), strides=stride, name=f"{prefix}_0_conv")(x)
        shortcut = norm(name=f"{prefix}_0_bn")(shortcut)
    x = conv(filters, (3, 3), strides=stride, padding=1, name=f"{prefix}_1_conv")(x)
    x = nn.relu(norm(name=f"{prefix}_1_bn")(x))
    x = conv(filters, (3, 3), padding=1, name=f"{prefix}_2_conv")(x)
    x = inner(norm(name=f"{prefix}_2_bn")(x), name=f"{prefix}_attention")
    return nn.relu(shortcut + x)


# torch counts momentum the other way round: its 0.1 is 0.9 here.
_BasicResNet = functools.partial(ResNet, bottleneck=False, bn_momentum=0.9)

ResNet18 = functools.partial(_BasicResNet, repeats=(2, 2, 2, 2))
ResNet34 = functools.partial(_BasicResNet, repeats=(3, 4, 6, 3))
ResNet50 = functools.partial(ResNet, repeats=(3, 4, 6, 3))
ResNet101 = functools.partial(ResNet, repeats=(3, 4, 23, 3))
ResNet152 = functools.partial(ResNet, repeats=(3, 8, 36, 3))
ResNet18Small = functools.partial(ResNet18, small_stem=True)
ResNet34Small = functools.partial(ResNet34, small_stem=True)
ResNet50Small = functools.partial(ResNet50, small_stem=True, bn_momentum=0.9)
ResNetTiny = functools.partial(_BasicResNet, repeats=(1, 1, 1, 1), filters=(8, 8, 16, 16))
ResNetTinyBottleneck = functools.partial(ResNet, repeats=(1, 1, 1, 1), filters=(4, 4, 8, 8))
