"""A trained model, taken from a workdir and ready for use."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision import batching
from jaxvision import workdir as workdir_lib
from jaxvision.checkpoint import Checkpoints, open_checkpoints
from jaxvision.errors import UserError
from jaxvision.sharding import make_mesh, replicated, shard_batch
from jaxvision.task import Task
from jaxvision.tasks import find_task
from jaxvision.train_state import eval_variables


class Trained(NamedTuple):
    """A trained model.

    Attributes:
      task, variables: as everywhere.
      fitted: what validation chose (a threshold, ...).
      step: the checkpoint's step.
      mesh: the devices that hold the variables.
    """

    task: Task
    variables: dict[str, Any]
    fitted: dict[str, float]
    step: int
    mesh: Mesh


def load_trained(config: ConfigDict, workdir: str, step: int = 0) -> Trained:
    """A checkpoint of a workdir, by default the best.

    Args:
      config: may differ from the workdir's own in anything but the model.
      workdir: the run's folder.
      step: the checkpoint's; 0: the best.

    Raises:
      UserError: nothing was trained there, that step is not kept, or the config describes another
        model.
    """
    workdir_lib.check_model(config, workdir)
    checkpoints, step = _choose_step(config, workdir, step)
    notes, mesh = checkpoints.notes(step), make_mesh({})
    variables = _variables(checkpoints, step, config.train.ema_decay, mesh)
    return Trained(find_task(config, notes["info"]), variables, notes["fitted"], step, mesh)


def trained_variables(workdir: str, mesh: Mesh) -> dict[str, Any]:
    """The variables of a workdir's best checkpoint, whatever model they are of.

    Raises:
      UserError: nothing was trained there.
    """
    config = workdir_lib.read_config(workdir)
    checkpoints, step = _choose_step(config, workdir, 0)
    return _variables(checkpoints, step, config.train.ema_decay, mesh)


def _choose_step(config: ConfigDict, workdir: str, step: int) -> tuple[Checkpoints, int]:
    checkpoints = open_checkpoints(workdir, config.checkpoint.higher_is_better)
    kept = checkpoints.steps()
    if not kept:
        raise UserError(f"workdir {workdir!r} holds no checkpoint yet: train there first")
    step = step or checkpoints.best()
    if step not in kept:
        raise UserError(
            f"--step={step}: {workdir} keeps only {', '.join(map(str, kept))}; choose one of them "
            "(checkpoint.keep_every_steps keeps more)"
        )
    return checkpoints, step


def _variables(checkpoints: Checkpoints, step: int, ema_decay: float, mesh: Mesh) -> dict[str, Any]:
    return eval_variables(checkpoints.restore_as_saved(step, replicated(mesh)), ema_decay)


def make_apply(trained: Trained, batch_size: int) -> Callable[[Iterable], Iterator]:
    """Returns apply((key, inputs) ...) -> (key, outputs) ..., in batches spread over all devices.

    Args:
      trained: whose `Model.predict` is used.
      batch_size: inputs in a batch.
    """
    program, mesh = jax.jit(trained.task.model.predict), trained.mesh

    def predict(inputs: np.ndarray) -> dict[str, jax.Array]:
        return program(trained.variables, shard_batch(mesh, inputs))

    def apply(pictures: Iterable) -> Iterator:
        return batching.apply_in_batches(predict, pictures, batch_size, mesh.size)

    return apply
