"""The heatmap net of `jaxvision.models.keypoints` in plain PyTorch: only to compare speed with.

The same graph, widths, losses and optimizer. As in `unet_torch`, a stride 2 convolution pads every
side by one pixel where SAME may pad the far side alone; the arithmetic is as much.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import torch_side
from jaxvision.models.keypoints import STRIDE
from jaxvision.tasks.keypoints.model import PEAK_RADIUS


class HeatmapNet(nn.Module):
    """Pictures uint8 [B, H, W, C] to heatmaps float32 [B, K, H / 2, W / 2], each of sum 1."""

    def __init__(self, points: int, widths: tuple[int, ...], channels: int):
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(_block(4 * channels, fine), _block(fine, fine))
        self.down4 = _block(fine, middle, stride=2)
        self.middle = _block(middle, middle)
        self.down8 = nn.Sequential(_block(middle, coarse, stride=2), _block(coarse, coarse))
        self.up4 = _block(coarse, middle, kernel=1)
        self.middle_up = _block(middle, middle)
        self.up2 = _block(middle, fine, kernel=1)
        self.fine_up = _block(fine, fine)
        self.head = nn.Conv2d(fine, points, 1)

    def forward(self, images):
        x = images.permute(0, 3, 1, 2).float()
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) / (((x - mean) ** 2).mean((1, 2, 3), keepdim=True).sqrt() + 1.0)
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
        x = skip2 = self.stem(F.pixel_unshuffle(x, 2))  # [B, fine, H/2, W/2]
        x = skip4 = self.middle(self.down4(x))
        x = self.middle_up(_join(self.up4(self.down8(x)), skip4))
        x = self.fine_up(_join(self.up2(x), skip2))
        logits = self.head(x).float()
        return logits.flatten(2).softmax(-1).view_as(logits)


def _block(channels: int, filters: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(filters, 1e-5, 0.1), nn.ReLU(inplace=True))


def _join(coarse, fine):
    coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
    return fine + coarse[:, :, : fine.shape[2], : fine.shape[3]]


def make_model(config, batch: dict[str, np.ndarray]) -> HeatmapNet:
    """The counterpart, channels_last, of the net of a config.

    Raises:
      ValueError: the config asks for another net.
    """
    if config.model.name != "heatmap":
        raise ValueError(f"no PyTorch counterpart of {config.model.name}: run with --no_torch")
    points, channels = batch["points"].shape[1], batch["image"].shape[3]
    model = HeatmapNet(points, tuple(config.model.widths), channels)
    return model.to(memory_format=torch.channels_last)


def cell_centres(heatmaps):
    """[h * w, 2], x and y in pixels."""
    rows, columns = (torch.arange(n, device=heatmaps.device) for n in heatmaps.shape[2:])
    ys, xs = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([xs, ys], -1).view(-1, 2) * float(STRIDE) + (STRIDE - 1) / 2


def points_loss(heatmaps, points, visible, options):
    """Distance of the soft-argmax and cross-entropy with a Gaussian, as `tasks.keypoints`."""
    cells, flat = cell_centres(heatmaps), heatmaps.flatten(2)  # [B, K, h * w]
    offsets = flat @ cells - points
    pixels = ((offsets**2).sum(-1) + 1e-6).sqrt()
    squares = ((cells - points[:, :, None]) ** 2).sum(-1)
    target = (-squares / (2 * options.sigma**2)).softmax(-1)
    entropy = -(target * (flat + 1e-9).log()).sum(-1)
    return ((pixels + options.heatmap * entropy) * visible).sum() / visible.sum().clamp_min(1e-6)


def make_train_step(
    model: HeatmapNet, config, batch: dict[str, np.ndarray]
) -> Callable[[], torch.Tensor]:
    """Returns step() -> loss."""
    loss_of = functools.partial(points_loss, options=config.loss)
    truth = batch["points"], batch["visible"]
    return torch_side.train_step(model, config, batch["image"], truth, loss_of)


def make_predict(model: HeatmapNet, config, images: np.ndarray) -> Callable[[], torch.Tensor]:
    """Returns predict() -> points float32 [B, K, 2] of uint8 images on the host."""
    return torch_side.inference(model, config, images, peak_position)


def peak_position(heatmaps):
    """Mean position within PEAK_RADIUS cells of the highest: [B, K, 2]."""
    b, k, h, w = heatmaps.shape
    top = heatmaps.flatten(2).argmax(-1)[..., None]  # [B, K, 1]
    rows, columns = torch.arange(h, device=top.device), torch.arange(w, device=top.device)
    near_rows = ((rows - top // w).abs() <= PEAK_RADIUS)[..., :, None]
    near_columns = ((columns - top % w).abs() <= PEAK_RADIUS)[..., None, :]
    local = (heatmaps * (near_rows & near_columns)).flatten(2)
    return local @ cell_centres(heatmaps) / local.sum(-1, keepdim=True)
