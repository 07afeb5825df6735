"""The U-Net of `jaxvision.models.unet` in plain PyTorch: only to compare with.

The same graph, widths, losses and optimizer. One difference: PyTorch pads a stride 2 convolution
by one pixel on every side where SAME pads the far sides alone, so its windows sit a pixel off (it
sees what ours would see in a mirror). The arithmetic is as much, and turned images under turned
kernels (`load_turned`) give our numbers.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import torch_side
from jaxvision.models import encoder_options, unet
from jaxvision.models.mobilenet_v2 import GROUPS, MobileNetV2, divisible

IGNORE = 255


class Block(nn.Module):
    """MobileNetV2's inverted residual block: the output, and the expanded activation inside it."""

    def __init__(self, channels: int, filters: int, stride: int, expand: bool, momentum: float):
        super().__init__()
        wide = 6 * channels if expand else channels
        self.expand = conv_bn(channels, wide, 1, momentum) if expand else nn.Identity()
        self.depthwise = conv_bn(wide, wide, 3, momentum, stride=stride, groups=wide)
        self.project = conv_bn(wide, filters, 1, momentum, relu=None)
        self.residual = stride == 1 and channels == filters

    def forward(self, x):
        expanded = self.expand(x)
        y = self.project(self.depthwise(expanded))
        return (x + y if self.residual else y), expanded


class Encoder(nn.Module):
    """MobileNetV2: images [B, 3, H, W] in [-1, 1] to the features of strides 2, 4, 8, 16, 32."""

    def __init__(self, width: float, repeats: tuple[int, ...], momentum: float):
        super().__init__()
        self.momentum, self.frozen, self.inference_mode = momentum, False, False
        channels = divisible(32 * width)
        self.stem = conv_bn(3, channels, 3, momentum, stride=2)
        self.blocks, self.taps, self.channels = nn.ModuleList(), [], []
        for (filters, stride), repeat in zip(GROUPS, repeats, strict=True):
            filters = divisible(int(filters * width))
            for i in range(repeat):
                if i == 0 and stride == 2:
                    self.taps.append(len(self.blocks))
                    self.channels.append(6 * channels)
                args = (channels, filters, stride if i == 0 else 1, len(self.blocks) > 0, momentum)
                self.blocks.append(Block(*args))
                channels = filters
        self.channels.append(channels)

    def set_up(self, ours: encoder_options.Encoder) -> None:
        """Frozen, or learning on the statistics that it began with, where ours is."""
        self.frozen = ours.freeze
        self.inference_mode = len(ours.model.frozen) > 0
        self.requires_grad_(not self.frozen)

    def train(self, mode: bool = True) -> "Encoder":
        return super().train(mode and not self.inference_mode)

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x, stages = self.stem(x), []
            for i, block in enumerate(self.blocks):
                x, expanded = block(x)
                if i in self.taps:
                    stages.append(expanded)
            return [*stages, x]


class UNet(nn.Module):
    """Images uint8 [B, H, W, 3], sides multiples of 32, to logits float32 [B, H, W]."""

    def __init__(
        self,
        width: float,
        repeats: tuple[int, ...],
        widths: tuple[int, ...],
        encoder_momentum: float,
        momentum: float,
    ):
        """Momenta in flax's sense: the weight of the old average."""
        super().__init__()
        self.encoder = Encoder(width, repeats, encoder_momentum)
        *skips, channels = self.encoder.channels
        conv = functools.partial(conv_bn, kernel=3, momentum=momentum, eps=1e-5, relu=nn.ReLU)
        self.ups = nn.ModuleList()
        for skip, filters in zip(reversed(skips), widths[:4], strict=True):
            first, second = conv(channels + skip, filters), conv(filters, filters)
            self.ups.append(nn.Sequential(first, second))
            channels = filters
        self.ups.append(conv(channels + 3, widths[4]))  # 3: the photo itself
        channels = widths[4]
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, images):
        # Rows of pixels seen as [B, 3, H, W] are channels_last already.
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        *skips, x = self.encoder(pixels)
        for up, skip in zip(self.ups, [*reversed(skips), pixels], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = up(torch.cat([x, skip.to(x.dtype)], 1))  # [B, C, H / stride, W / stride]
        return self.head(x)[:, 0].float()


def conv_bn(channels, filters, kernel, momentum, stride=1, groups=1, eps=1e-3, relu=nn.ReLU6):
    conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    layers = [conv, nn.BatchNorm2d(filters, eps, 1 - momentum)]
    if relu:
        layers.append(relu(inplace=True))
    return nn.Sequential(*layers)


def make_model(config, batch=None) -> UNet:
    """The counterpart, channels_last, of the U-Net of a config.

    Raises:
      ValueError: its encoder is no MobileNetV2.
    """
    encoder = encoder_options.make(config)
    ours = encoder.model
    if not isinstance(ours, MobileNetV2):
        raise ValueError(f"no PyTorch counterpart of {encoder.name}: run with --no_torch")
    momenta = ours.bn_momentum, unet.UNet.bn_momentum
    model = UNet(ours.width, ours.repeats, config.model.decoder_widths, *momenta)
    model.encoder.set_up(encoder)
    return model.to(memory_format=torch.channels_last)


def load_turned(
    model: UNet,
    params: dict[tuple[str, ...], np.ndarray],
    statistics: dict[tuple[str, ...], np.ndarray],
) -> None:
    """Copies our arrays into the model, kernels turned by 180 degrees.

    It then makes of images turned by 180 degrees what ours makes of the images, turned.

    Args:
      model: on the host.
      params, statistics: {path: array} of 'params' and 'batch_stats', by layers in the order in
        which these are called (`jax_side.in_call_order`).
    """
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    kernels = [array[::-1, ::-1] for path, array in params.items() if path[-1] == "kernel"]
    for kernel, layer in zip(kernels, convolutions, strict=True):
        _copy(layer.weight, kernel.transpose(3, 2, 0, 1))
    _copy(model.head.bias, params["head", "bias"])
    names = [path[:-1] for path in params if path[-1] == "scale"]
    for name, layer in zip(names, norms, strict=True):
        _copy(layer.weight, params[*name, "scale"])
        _copy(layer.bias, params[*name, "bias"])
        _copy(layer.running_mean, statistics[*name, "mean"])
        _copy(layer.running_var, statistics[*name, "var"])


@torch.no_grad()
def _copy(tensor, array) -> None:
    tensor.copy_(torch.from_numpy(np.array(array)))


def bce_dice(logits, mask):
    """Binary cross-entropy + soft Dice, as `jaxvision.losses`; mask uint8 [B, H, W]."""
    weights, labels = (mask != IGNORE).float(), (mask == 1).float()
    entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    entropy = (entropy * weights).sum() / weights.sum().clamp_min(1e-6)
    probability, labels = logits.sigmoid() * weights, labels * weights
    overlap = (probability * labels).sum()
    return entropy + 1 - (2 * overlap + 1) / (probability.sum() + labels.sum() + 1)


def make_train_step(
    model: UNet, config, batch: dict[str, np.ndarray]
) -> Callable[[], torch.Tensor]:
    """Returns step() -> loss."""
    return torch_side.train_step(model, config, batch["image"], [batch["mask"]], bce_dice)


def make_predict(model: UNet, config, images: np.ndarray) -> Callable[[], torch.Tensor]:
    """Returns predict() -> probabilities float32 [B, H, W] of uint8 images on the host."""
    return torch_side.inference(model, config, images, torch.sigmoid)
