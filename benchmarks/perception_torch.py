"""The scorer of `jaxvision.models.perception` in plain PyTorch: only to compare speed with.

MobileNetV2, frozen or not, the means of its maps, and the heads; the same widths, loss and
optimizer, no augmentation: the middle of each photo in place of a random crop. Strides as in
`unet_torch`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import torch_side, unet_torch
from jaxvision.models import encoder_options, mobilenet_v2
from jaxvision.tasks.perception.model import crop_size


class Scorer(nn.Module):
    """Photos uint8 [B, S, S, 3] to values float32 [B, A]."""

    def __init__(
        self,
        encoder: nn.Module,
        heads: int,
        hidden: tuple[int, ...],
        dropout: float,
        attributes: int,
        crop: int,
    ):
        """Args: `encoder` from unet_torch; the heads'; side of what is seen of a photo."""
        super().__init__()
        self.crop, self.encoder = crop, encoder
        found = []
        for _ in range(heads):
            features = sum(encoder.channels)
            layers = [nn.BatchNorm1d(features, 1e-5, 1 - encoder.momentum)]
            for width in hidden:
                layers += [nn.Dropout(dropout), nn.Linear(features, width), nn.ReLU()]
                features = width
            found.append(
                nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(features, attributes))
            )
        self.heads = nn.ModuleList(found)

    def forward(self, images):
        """The heads' values, [M, B, A]."""
        start = (images.shape[1] - self.crop) // 2
        middle = images[:, start : start + self.crop, start : start + self.crop]
        pixels = middle.permute(0, 3, 1, 2).float() / 127.5 - 1.0  # channels_last already
        features = torch.cat([m.mean((2, 3)) for m in self.encoder(pixels)], 1)  # [B, C]
        return torch.stack([head(features).float() for head in self.heads])


def make_model(config, batch: dict[str, np.ndarray]) -> Scorer:
    """The counterpart, channels_last, of a config's scorer, with an output for each score.

    Raises:
      ValueError: its encoder is no MobileNetV2, or its loss another one than mse of scores.
    """
    encoder, options = encoder_options.make(config), config.loss
    ours = encoder.model
    if not isinstance(ours, mobilenet_v2.MobileNetV2):
        raise ValueError(f"no PyTorch counterpart of {encoder.name}: run with --no_torch")
    if options.name != "mse" or options.votes or not options.scores:
        raise ValueError(f"no PyTorch counterpart of loss {options.name}: run with --no_torch")
    theirs = unet_torch.Encoder(ours.width, ours.repeats, ours.bn_momentum)
    crop = crop_size(config, batch["image"].shape[1])
    options, attributes = config.model, batch["score"].shape[1]
    model = Scorer(theirs, options.heads, tuple(options.hidden), options.dropout, attributes, crop)
    model.encoder.set_up(encoder)
    return model.to(memory_format=torch.channels_last)


def make_train_step(
    model: Scorer, config, batch: dict[str, np.ndarray]
) -> Callable[[], torch.Tensor]:
    """Returns step() -> loss; scores in standard deviations of the batch, ours of the split."""
    score = batch["score"]
    standard = ((score - score.mean(0)) / score.std(0)).astype(np.float32)

    def loss(values, standard):
        return F.mse_loss(values, standard.expand_as(values))

    return torch_side.train_step(model, config, batch["image"], [standard], loss)


def make_predict(model: Scorer, config, images: np.ndarray) -> Callable[[], torch.Tensor]:
    """Returns predict() -> values float32 [B, A] of uint8 images on the host."""
    return torch_side.inference(model, config, images, lambda values: values.mean(0))
