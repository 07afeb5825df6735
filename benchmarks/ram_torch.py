"""The recurrent attention classifier in PyTorch, twice: only to compare speed with.

`Looped` cuts the patches as published reimplementations do, image by image in Python, padding each
image that a patch leaves; `Vectorised` cuts a whole batch by one gather from images padded once.
Both step through the glimpses in a Python loop. Layers, loss and optimizer are ours.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import torch_side


class Looped:
    """Patches around locations, one image after the other."""

    def __init__(self, images: torch.Tensor, size: int):
        """Args: float [B, C, H, W]; side of the patch."""
        self.images, self.size = images, size

    def __call__(self, locations: torch.Tensor) -> torch.Tensor:
        """[B, 2] in [-1, 1] -> [B, C * size * size]."""
        _, _, height, width = self.images.shape
        half, patches = self.size // 2, []
        for image, location in zip(self.images, locations, strict=True):
            column = int(torch.round((location[0] + 1) / 2 * width)) - half
            row = int(torch.round((location[1] + 1) / 2 * height)) - half
            bottom, right = row + self.size, column + self.size
            if row < 0 or column < 0 or bottom > height or right > width:
                image = F.pad(image, (self.size,) * 4)
                row, column = row + self.size, column + self.size
            patches.append(image[:, row : row + self.size, column : column + self.size])
        return torch.stack(patches).flatten(1)


class Vectorised:
    """Patches around locations, one gather a batch."""

    def __init__(self, images: torch.Tensor, size: int):
        """Args: float [B, C, H, W]; side of the patch."""
        self.extent = torch.tensor(images.shape[:1:-1], device=images.device)  # width, height
        half = size // 2
        self.padded = F.pad(images, (half, size - half, half, size - half)).permute(0, 2, 3, 1)
        self.rows = torch.arange(len(images), device=images.device)[:, None, None]
        self.offsets = torch.arange(size, device=images.device)

    def __call__(self, locations: torch.Tensor) -> torch.Tensor:
        """[B, 2] in [-1, 1] -> [B, size * size * C]."""
        corners = torch.round((locations + 1) / 2 * self.extent).long()
        y = (corners[:, 1, None] + self.offsets)[:, :, None]
        x = (corners[:, 0, None] + self.offsets)[:, None, :]
        return self.padded[self.rows, y, x].flatten(1)


class RAM(nn.Module):
    """One scale, ReLU core, classifier; images uint8 [B, H, W, C]."""

    def __init__(self, options, classes: int, channels: int, retina: type):
        """Args: config.model; classes and channels of the data; Looped or Vectorised."""
        super().__init__()
        if options.patches != 1 or options.core != "rnn" or options.head != "classifier":
            raise ValueError("the PyTorch RAM is a classifier of one scale with the ReLU core")
        if options.first != "random":
            raise ValueError("the PyTorch RAM looks at a random place first")
        what, where, both = options.widths
        self.options, self.retina = options, retina
        self.what = nn.Linear(options.size**2 * channels, what)
        self.where = nn.Linear(2, where)
        self.from_what, self.from_where = nn.Linear(what, both), nn.Linear(where, both)
        self.core_in = nn.Linear(both, options.hidden)
        self.core_state = nn.Linear(options.hidden, options.hidden, bias=False)
        self.location, self.baseline = nn.Linear(options.hidden, 2), nn.Linear(options.hidden, 1)
        self.classifier = nn.Linear(options.hidden, classes)

    def forward(self, images):
        """Logits [B, classes], log-probabilities and baselines [T - 1, B] of what was drawn."""
        options = self.options
        retina = self.retina(images.permute(0, 3, 1, 2).float() / 255, options.size)
        state = images.new_zeros(len(images), options.hidden, dtype=torch.float32)
        location = torch.rand(len(images), 2, device=images.device) * 2 - 1
        log_probs, baselines = [], []
        for t in range(options.glimpses):
            what = F.relu(self.what(retina(location)))
            where = F.relu(self.where(location))
            glimpse = F.relu(self.from_what(what) + self.from_where(where))
            state = F.relu(self.core_in(glimpse) + self.core_state(state))
            if t + 1 < options.glimpses:
                seen = state.detach()
                baselines.append(self.baseline(seen)[:, 0].float())
                seen = seen / (seen.square().mean(1, keepdim=True) + 1e-6).sqrt()
                mean = torch.tanh(self.location(seen).float() / options.hidden**0.5)
                # Checking its arguments would have the host wait for a GPU at every glimpse.
                policy = torch.distributions.Normal(mean, options.std, validate_args=False)
                sampled = policy.sample()
                log_probs.append(policy.log_prob(sampled).sum(1))
                location = sampled.clamp(-1, 1)
        return self.classifier(state).float(), torch.stack(log_probs), torch.stack(baselines)


def hybrid_loss(rollout, labels, policy_weight):
    """Cross-entropy, the baseline's squared error, and REINFORCE, as `tasks.attention`."""
    logits, log_probs, baselines = rollout
    reward = (logits.argmax(1) == labels).float()
    policy_loss = -(log_probs * (reward - baselines).detach()).sum(0).mean()
    baseline_loss = F.mse_loss(baselines, reward.expand_as(baselines))
    return F.cross_entropy(logits, labels) + baseline_loss + policy_weight * policy_loss


def make_model(config, batch: dict[str, np.ndarray], retina: type = Vectorised) -> RAM:
    """The counterpart of a config's RAM; as many classes as the batch's labels show.

    Raises:
      ValueError: the config's model is another kind.
    """
    classes = int(batch["label"].max()) + 1  # of 128 digits, every class is there
    return RAM(config.model, classes, batch["image"].shape[-1], retina)


def make_train_step(model: RAM, config, batch: dict[str, np.ndarray]) -> Callable[[], torch.Tensor]:
    """Returns step() -> loss; no moving average."""
    loss_of = functools.partial(hybrid_loss, policy_weight=config.loss.policy_weight)
    truth = [batch["label"].astype(np.int64)]
    return torch_side.train_step(model, config, batch["image"], truth, loss_of)


def make_predict(model: RAM, config, images: np.ndarray) -> Callable[[], torch.Tensor]:
    """Returns predict() -> probabilities [B, K] of uint8 images on the host.

    The mean of `predict.rollouts` rollouts, as ours.
    """

    def finish(rolled):
        return torch.stack([logits.softmax(-1) for logits, _, _ in rolled]).mean(0)

    return torch_side.inference(Rollouts(model, config.predict.rollouts), config, images, finish)


class Rollouts(nn.Module):
    """Several rollouts of a RAM at the same images, one after another."""

    def __init__(self, model: RAM, count: int):
        super().__init__()
        self.model, self.count = model, count

    def forward(self, images):
        return [self.model(images) for _ in range(self.count)]
