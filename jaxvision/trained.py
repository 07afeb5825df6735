"""A trained model, taken from a workdir and ready for use."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import errors as flax_errors
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision import batching, hosts
from jaxvision import workdir as workdir_lib
from jaxvision.checkpoint import open_checkpoints
from jaxvision.errors import UserError
from jaxvision.sharding import make_mesh, replicated, shard_batch
from jaxvision.task import Task
from jaxvision.tasks import find_task
from jaxvision.training.train_state import eval_variables

MISFITS = (
    flax_errors.ScopeParamNotFoundError,
    flax_errors.ScopeParamShapeError,
    flax_errors.ScopeVariableNotFoundError,
)


class Trained(NamedTuple):
    """A trained model.

    Attributes:
      task, variables: as everywhere.
      fitted: what validation chose (a threshold, ...).
      step: the checkpoint's step.
      mesh: the devices that hold the variables.
      info: the data set's facts.
      digest: changes with the checkpoint; hexadecimal digits.
    """

    task: Task
    variables: dict[str, Any]
    fitted: dict[str, float]
    step: int
    mesh: Mesh
    info: dict[str, Any]
    digest: str


def load_trained(config: ConfigDict, workdir: str, step: int = 0) -> Trained:
    """A checkpoint of a workdir, by default the best.

    Args:
      config: may differ from the workdir's own in anything but the model.
      workdir: the run's folder.
      step: the checkpoint's; 0: the best.

    Raises:
      UserError: nothing was trained there, that step is not kept, or the config describes another
        model. From the task's functions: the arrays are of another version of this code.
    """
    workdir_lib.check_same_model(config, workdir_lib.read_config(workdir), workdir)
    mesh = make_mesh({})
    step, (notes, variables) = _first_intact(config, workdir, step, mesh)
    task, digest = find_task(config, notes["info"]), _digest(workdir, step)
    task = _of_this_version(task, f"step {step} of {workdir}")
    return Trained(task, variables, notes["fitted"], step, mesh, notes["info"], digest)


def _of_this_version(task: Task, source: str) -> Task:
    """The task, which says so where the network has come to need other arrays than were saved."""

    def told(function):
        @functools.wraps(function)
        def call(*args):
            try:
                return function(*args)
            except MISFITS as error:
                reason = str(error).partition(". (http")[0]
                raise UserError(
                    f"{source} does not fit the network of today ({reason}): it was trained with "
                    "another version of this code; use that one, or train it anew"
                ) from error

        return call

    model = task.model
    return task._replace(
        model=model._replace(predict=told(model.predict), metrics=told(model.metrics))
    )


def _digest(workdir: str, step: int) -> str:
    folder = Path(workdir)
    saved = (folder / "checkpoints" / str(step)).stat().st_mtime_ns
    text = f"{step} {saved} {(folder / 'config.json').read_text()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trained_variables(workdir: str, mesh: Mesh) -> dict[str, Any]:
    """The variables of a workdir's best checkpoint, whatever model they are of.

    Raises:
      UserError: nothing was trained there.
    """
    config = workdir_lib.read_config(workdir)
    return _first_intact(config, workdir, 0, mesh)[1][1]


def _first_intact(
    config: ConfigDict, workdir: str, step: int, mesh: Mesh
) -> tuple[int, tuple[dict[str, Any], dict[str, Any]]]:
    """(step, (notes, variables)) of the step asked for, or of the best one that can be read."""
    checkpoints = open_checkpoints(workdir, config.checkpoint.higher_is_better)
    kept, best = hosts.from_first(lambda: (checkpoints.steps(), checkpoints.best()))
    if not kept:
        raise UserError(f"workdir {workdir!r} holds no checkpoint yet: train there first")
    if step and step not in kept:
        raise UserError(
            f"--step={step}: {workdir} keeps only {', '.join(map(str, kept))}; choose one of them "
            "(checkpoint.keep_every_steps keeps more)"
        )

    def load(step):
        saved = checkpoints.restore_as_saved(step, replicated(mesh))
        return checkpoints.notes(step), eval_variables(saved, config.train.ema_decay)

    others = [other for other in reversed(kept) if other != best]
    step, loaded, _ = checkpoints.first_intact([step] if step else [best, *others], load)
    return step, loaded


def make_predict(trained: Trained) -> Callable[[np.ndarray], dict[str, jax.Array]]:
    """Returns predict(inputs [n, ...]) -> {name: array [n, ...]}, a batch over all devices."""
    program, mesh = jax.jit(trained.task.model.predict), trained.mesh

    def predict(inputs: np.ndarray) -> dict[str, jax.Array]:
        return program(trained.variables, shard_batch(mesh, inputs))

    return predict


def make_apply(trained: Trained, batch_size: int) -> Callable[[Iterable], Iterator]:
    """Returns apply((key, inputs) ...) -> (key, outputs) ..., as `Predictor.stream` takes it.

    Args:
      trained: whose `Model.predict` is used.
      batch_size: inputs in a batch.
    """
    return functools.partial(
        batching.apply_in_batches,
        make_predict(trained),
        batch_size=batch_size,
        devices=trained.mesh.size,
    )
