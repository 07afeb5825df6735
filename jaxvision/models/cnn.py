"""Small convolutional networks for small faces, trained from scratch.

CNN4, CNN5 and CNN5Wide are the plain baselines: convolution, batch norm, ReLU, pooling. SECNN is
residual, with squeeze and excitation in every block, Mish in place of ReLU, and multi-head
self-attention over the places of its last map.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.models.attention import attend, attend_after
from jaxvision.models.conv import conv_general_dilated
from jaxvision.models.norm import batch_norm
from jaxvision.models.pool import Flatten, MaxPool, MeanPool


class CNN(nn.Module):
    """Images [B, H, W, C] in [0, 255], gray or colour, to stages, pooled features or logits.

    One convolution a stage, or with `residual` a residual block of two (He et al. 2015); every
    stage ends in 2x2 max pooling, which rounds sizes down. num_classes None gives {stride:
    features} after each pooling, 0 the pooled features [B, C] (`flatten`: all places [B, h * w *
    C]), N logits [B, N] in float32.

    Attributes:
      filters: of the stages.
      kernels: sides of the convolutions.
      residual: residual blocks in place of single convolutions.
      activation: relu | mish (Misra 2019, arXiv 1908.08681).
      dropout_rate: of the pooled map of every stage, where the layer is not frozen.
      flatten: see above.
      attention, block_attention, head_attention: kinds of `models/attention.py`, or '': after each
        stage, on the branch of every residual block, and before the last pooling.
      remat: keep only the stages' inputs for the gradient.
    """

    filters: Sequence[int] = (32, 64, 128, 256)
    kernels: Sequence[int] = (3, 3, 3, 3)
    residual: bool = False
    activation: str = "relu"
    dropout_rate: float = 0.0
    flatten: bool = False
    num_classes: int | None = None
    bn_momentum: float = 0.9
    frozen: Sequence[str] = ()
    dtype: Any = jnp.float32
    attention: Sequence[str] = ()
    block_attention: str = ""
    head_attention: str = ""
    remat: bool = False

    preprocessing = "centred"

    @nn.compact
    def __call__(self, images, train: bool):
        x = images.astype(jnp.float32) / 127.5 - 1.0
        x, stages = x.astype(self.dtype), {}
        for i in range(len(self.filters)):

            def run(module, x, i=i):
                return module._stage(x, i, train)

            x = (nn.remat(run) if self.remat else run)(self, x)
            x = attend_after(x, self.attention, i, self.dtype)
            stages[2 ** (i + 1)] = x  # [B, H / 2^(i+1), W / 2^(i+1), filters[i]]
        if self.num_classes is None:
            return stages
        x = attend(x, self.head_attention, "head_attention", self.dtype)
        x = (Flatten if self.flatten else MeanPool)(name="pool")(x)
        if self.num_classes:
            x = nn.Dense(self.num_classes, dtype=self.dtype, name="predictions")(x)
        return x.astype(jnp.float32)

    def _stage(self, x, i, train):
        conv = functools.partial(
            nn.Conv,
            kernel_size=(self.kernels[i],) * 2,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=conv_general_dilated,
        )
        norm = functools.partial(
            batch_norm, train, self.frozen, momentum=self.bn_momentum, dtype=self.dtype
        )
        act = {"relu": nn.relu, "mish": jax.nn.mish}[self.activation]
        name, filters = f"conv{i + 1}", self.filters[i]
        shortcut = x
        x = norm(name=f"{name}_bn")(conv(filters, name=name)(x))
        if self.residual:
            x = norm(name=f"{name}b_bn")(conv(filters, name=f"{name}b")(act(x)))
            x = attend(x, self.block_attention, f"{name}_attention", self.dtype)
            shortcut = conv(filters, kernel_size=(1, 1), name=f"{name}_shortcut")(shortcut)
            x = x + norm(name=f"{name}_shortcut_bn")(shortcut)
        x = MaxPool(name=f"pool{i + 1}")(act(x))
        fixed = not train or name in self.frozen
        return nn.Dropout(self.dropout_rate, deterministic=fixed)(x)

    @property
    def cam_layer(self):
        """The module whose input Grad-CAM looks at: the last map before it is pooled."""
        return f"pool{len(self.filters)}"

    def layer_order(self):
        """Names of the layers that hold published or saved weights, from input to output."""
        names = []
        for i in range(len(self.filters)):
            for part in ("", "b", "_shortcut") if self.residual else ("",):
                names += [f"conv{i + 1}{part}", f"conv{i + 1}{part}_bn"]
        return names + (["predictions"] if self.num_classes else [])


CNN4 = CNN
CNN5 = functools.partial(CNN, filters=(32, 64, 128, 256, 256), kernels=(5, 3, 3, 3, 3))
CNN5Wide = functools.partial(CNN, filters=(48, 96, 192, 384, 384), kernels=(5, 3, 3, 3, 3))
SECNN = functools.partial(
    CNN,
    filters=(64, 128, 256, 512),
    residual=True,
    activation="mish",
    dropout_rate=0.1,
    block_attention="se",
    head_attention="mhsa",
)
CNNTiny = functools.partial(CNN, filters=(4, 8), kernels=(3, 3))
