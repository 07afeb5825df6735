"""The PyTorch version of a config's system, as contestants for `timing.in_turn`."""

import functools
import os
from collections.abc import Callable
from types import ModuleType

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.timing import Contestant


def module_of(config: ConfigDict) -> ModuleType:
    """The module with `make_model`, `make_train_step` and `make_predict` for a config's task.

    Raises:
      ValueError: there is none.
    """
    from benchmarks import (
        classifier_torch,
        keypoints_torch,
        perception_torch,
        ram_torch,
        unet_torch,
    )

    theirs = {
        ("keypoints", None): keypoints_torch,
        ("attention", None): ram_torch,
        ("perception", "mse"): perception_torch,
        ("segmentation", "bce_dice"): unet_torch,
        ("classification", "cross_entropy"): classifier_torch,
    }.get((config.task, config.loss.get("name")))
    if theirs is None:
        raise ValueError(
            f"no PyTorch counterpart of task {config.task} with this loss: run with --no_torch"
        )
    return theirs


def device() -> str:
    """Where PyTorch is to run: on the GPU where JAX does."""
    import torch

    return "cuda" if torch.cuda.is_available() and jax.default_backend() != "cpu" else "cpu"


def contestants(
    config: ConfigDict, batch: dict[str, np.ndarray], trained_parameters: int, compiled: bool
) -> dict[str, Contestant]:
    """{'step', 'inference'} in PyTorch, channels_last, on as many threads as there are cores.

    Args:
      config: the run's.
      batch: on the host.
      trained_parameters: how many ours trains.
      compiled: through `torch.compile`.

    Raises:
      ValueError: the config's model has no counterpart in PyTorch.
    """
    import torch

    theirs, where = module_of(config), device()
    torch.set_num_threads(os.cpu_count())
    torch.backends.cudnn.benchmark = True
    trained, used = (theirs.make_model(config, batch).to(where) for _ in range(2))
    count = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    if count != trained_parameters:
        raise ValueError(
            f"the PyTorch model trains {count:,} parameters, ours {trained_parameters:,}: run with "
            "--no_torch"
        )
    if compiled:
        trained, used = torch.compile(trained), torch.compile(used)
    step = theirs.make_train_step(trained, config, batch)
    predict = theirs.make_predict(used, config, batch["image"])
    return {"step": contestant(step, batch), "inference": contestant(predict, batch)}


def contestant(call: Callable[[], object], batch: dict[str, np.ndarray]) -> Contestant:
    """Calls that each work through the batch; a piece is an image."""
    return Contestant(functools.partial(_repeat, call, len(batch["image"])))


def _repeat(call: Callable[[], object], size: int, images: int) -> int:
    import torch

    count = -(-images // size)
    for _ in range(count):
        call()
    if device() == "cuda":
        torch.cuda.synchronize()
    return count * size
