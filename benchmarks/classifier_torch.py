"""The plain CNNs and basic ResNets of our classifiers in PyTorch: only to compare speed with.

The same graph, widths, loss and optimizer; no augmentation.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import torch_side, unet_torch
from jaxvision.models import cnn, encoders, resnet
from jaxvision.models.preprocess import UNIT_MEAN, UNIT_STD


class CNN(nn.Module):
    """`jaxvision.models.cnn.CNN` without residuals: pixels [B, 1, H, W] in [-1, 1] to [B, F]."""

    def __init__(self, filters: tuple[int, ...], kernels: tuple[int, ...], momentum: float):
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        self.features = filters[-1]
        for channels, width, kernel in zip((1, *filters), filters, kernels, strict=False):
            self.convs.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False))
            self.norms.append(nn.BatchNorm2d(width, momentum=1 - momentum))

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return x.mean((2, 3))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int, momentum: float):
        super().__init__()
        self.a = unet_torch.conv_bn(channels, filters, 3, momentum, stride, eps=1e-5, relu=nn.ReLU)
        self.b = unet_torch.conv_bn(filters, filters, 3, momentum, eps=1e-5, relu=None)
        self.shortcut = nn.Identity()
        if stride > 1 or channels != filters:
            self.shortcut = unet_torch.conv_bn(
                channels, filters, 1, momentum, stride, eps=1e-5, relu=None
            )

    def forward(self, x):
        return F.relu(self.shortcut(x) + self.b(self.a(x)))


class ResNet(nn.Module):
    """Our basic ResNet: pixels [B, 3, H, W], normed as ImageNet's, to [B, F]."""

    def __init__(self, repeats, filters, small_stem: bool, momentum: float):
        super().__init__()
        kernel, stride = (3, 1) if small_stem else (7, 2)
        stem = unet_torch.conv_bn(3, filters[0], kernel, momentum, stride, eps=1e-5, relu=nn.ReLU)
        layers = [stem] if small_stem else [stem, nn.MaxPool2d(3, 2, 1)]
        channels, self.features = filters[0], filters[-1]
        for group, (repeat, width) in enumerate(zip(repeats, filters, strict=True)):
            for i in range(repeat):
                layers.append(Block(channels, width, 2 if group and not i else 1, momentum))
                channels = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x).mean((2, 3))


class Classifier(nn.Module):
    """Images uint8 [B, H, W, C] to logits float32 [B, K]."""

    def __init__(self, encoder: nn.Module, classes: int, dropout: float):
        super().__init__()
        self.encoder, self.dropout = encoder, nn.Dropout(dropout)
        self.head = nn.Linear(encoder.features, classes)
        self.register_buffer("mean", torch.tensor(UNIT_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(UNIT_STD).view(1, 3, 1, 1) * 255)

    def forward(self, images):
        pixels = images.permute(0, 3, 1, 2).float()  # seen as [B, C, H, W]: channels_last already
        if isinstance(self.encoder, CNN):
            pixels = pixels / 127.5 - 1.0
        else:
            pixels = (pixels.expand(-1, 3, -1, -1) - self.mean) / self.std
        return self.head(self.dropout(self.encoder(pixels))).float()


def make_model(config, batch: dict[str, np.ndarray]) -> Classifier:
    """The counterpart, channels_last, of a config's classifier; as many classes as its labels show.

    Raises:
      ValueError: its encoder is neither a plain CNN nor a basic ResNet, or has attention.
    """
    model, encoder = config.model, config.model.encoder
    ours = encoders.make(encoder.name, encoders.CLASSIFIERS)
    extras = (*model.attention, model.block_attention, model.head_attention, *model.hidden)
    momentum, theirs = encoder.bn_momentum, None
    if isinstance(ours, cnn.CNN) and not (ours.residual or ours.dropout_rate):
        theirs = CNN(tuple(ours.filters), tuple(ours.kernels), momentum)
    elif isinstance(ours, resnet.ResNet) and not ours.bottleneck:
        theirs = ResNet(ours.repeats, ours.filters, ours.small_stem, momentum)
    if theirs is None or any(extras) or config.loss.label_smoothing:
        raise ValueError(f"no PyTorch counterpart of {encoder.name}: run with --no_torch")
    classes = int(batch["label"].max()) + 1  # of 128 faces or so, every class is there
    made = Classifier(theirs, classes, model.dropout)
    return made.to(memory_format=torch.channels_last)


def make_train_step(model: Classifier, config, batch: dict[str, np.ndarray]) -> Callable:
    """Returns step() -> loss."""
    truth = [batch["label"].astype(np.int64)]
    return torch_side.train_step(model, config, batch["image"], truth, F.cross_entropy)


def make_predict(model: Classifier, config, images: np.ndarray) -> Callable[[], torch.Tensor]:
    """Returns predict() -> logits float32 [B, K] of uint8 images on the host."""
    return torch_side.inference(model, config, images, lambda logits: logits)
