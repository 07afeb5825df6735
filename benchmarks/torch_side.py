"""The train step and the inference of every PyTorch model that ours are timed beside."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn


def train_step(
    model: nn.Module,
    config,
    images: np.ndarray,
    truth: Sequence[np.ndarray],
    loss_of: Callable[..., torch.Tensor],
) -> Callable[[], torch.Tensor]:
    """Returns step() -> loss: trains on one batch, which starts on the host. No augmentation.

    Args:
      model: on its device.
      config: the run's.
      images: uint8 [B, H, W, C].
      truth: arrays of B rows.
      loss_of: (the model's output, *truth) -> loss.
    """
    batch = [host_tensor(array) for array in (images, *truth)]
    update, _ = make_update(model, config, loss_of)
    return lambda: update(*batch)


def make_update(
    model: nn.Module, config, loss_of: Callable[..., torch.Tensor]
) -> tuple[Callable[..., torch.Tensor], torch.optim.Optimizer]:
    """Returns update(images, *truth) -> loss, of tensors on the host, and the optimizer it uses.

    Clipping and AdamW (decay on kernels alone) as in `jaxvision.training.optimizers`, at the
    config's learning rate times `scale`, a parameter group's own; in bfloat16 where train.dtype
    says so.

    Args:
      model: on its device.
      config: the run's.
      loss_of: (the model's output, *truth) -> loss.
    """
    device, options = next(model.parameters()).device, config.optimizer
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = {}
    for name, p in trained.items():
        scale = options.encoder_lr_scale if name.startswith("encoder.") else 1.0
        decay = options.weight_decay if p.ndim > 1 else 0.0
        group = {"params": [], "weight_decay": decay, "scale": scale}
        groups.setdefault((scale, decay), group)["params"].append(p)
    for group in groups.values():
        group["lr"] = group["scale"] * options.learning_rate
    optimizer = torch.optim.AdamW(groups.values(), fused=True)
    model.train()

    def update(*batch):
        optimizer.zero_grad(set_to_none=True)
        pixels, *known = (tensor.to(device, non_blocking=True) for tensor in batch)
        with autocast(device, config.train.dtype):
            output = model(pixels)
        loss = loss_of(output, *known)
        loss.backward()
        if options.clip_norm > 0:
            nn.utils.clip_grad_norm_(trained.values(), options.clip_norm)
        optimizer.step()
        return loss.detach()

    return update, optimizer


def inference(
    model: nn.Module, config, images: np.ndarray, finish: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """Returns predict() -> finish(the model's output) for uint8 images that start on the host."""
    images, device = host_tensor(images), next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def predict():
        with autocast(device, config.train.dtype):
            outputs = model(images.to(device, non_blocking=True))
        return finish(outputs)

    return predict


def host_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor on the host, from where a GPU can fetch it on its own."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def autocast(device: torch.device, dtype: str):
    """The mixed precision that stands for `train.dtype`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")
