"""What a run consists of: config, data, task, optimizer and devices put together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision import logs, optimizers
from jaxvision.checkpoint import Checkpoints, open_checkpoints
from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset, training_split
from jaxvision.sharding import replicated
from jaxvision.task import Task
from jaxvision.tasks import find_task
from jaxvision.train_state import TrainState, create_state, eval_variables, merge_params


class Run(NamedTuple):
    """What stays the same from the first step to the last."""

    config: ConfigDict
    workdir: str
    dataset: Dataset
    task: Task
    mesh: Mesh
    total_steps: int
    steps_per_epoch: int
    checkpoints: Checkpoints
    metrics: Callable  # the task's, jitted


def prepare(config: ConfigDict, workdir: str, dataset: Dataset, mesh: Mesh) -> Run:
    """Puts together what a config, its data and the devices determine.

    Raises:
      UserError: unknown task, model or metric.
    """
    task = find_task(config, dataset.info)
    steps_per_epoch = max(1, round(len(training_split(dataset).names) / config.batch_size))
    total = config.train.steps or round(config.train.epochs * steps_per_epoch)
    keep = config.checkpoint
    checkpoints = open_checkpoints(workdir, keep.higher_is_better, keep.keep_every_steps)
    metrics = jax.jit(task.metrics)
    return Run(config, workdir, dataset, task, mesh, total, steps_per_epoch, checkpoints, metrics)


def initial_state(run: Run, optimizer: Any) -> TrainState:
    """The state before step 1, on the devices.

    Pretrained weights are loaded unless a checkpoint is there to take their place: a resumed run
    needs neither the network nor the file.

    Raises:
      UserError: the weights cannot be fetched or read, or do not fit.
    """
    row = training_split(run.dataset).read(0)
    batch = {name: np.stack([array] * run.config.batch_size) for name, array in row.items()}
    key = jax.random.key(run.config.seed)
    variables = jax.jit(run.task.init)(key, batch)
    if run.checkpoints.newest() is None:
        variables = run.task.load_weights(variables)
    state = create_state(run.task, optimizer, variables, batch, run.config.train.ema_decay > 0)
    return jax.device_put(state, replicated(run.mesh))


def make_optimizer(run: Run) -> Any:
    """The run's optax transformation."""
    return optimizers.make_optimizer(run.config, run.total_steps)


def start(run: Run) -> tuple[TrainState, dict[str, Any]]:
    """The newest checkpoint's state and notes, or those of a fresh run.

    Raises:
      UserError: no such metric; weights that cannot be had; a checkpoint of another run.
    """
    state = initial_state(run, make_optimizer(run))
    _check_best_metric(run, state)
    newest = run.checkpoints.newest()
    if newest is None:
        _describe(state)
        data = {"info": run.dataset.info, "fingerprint": run.dataset.fingerprint}
        return state, {**data, "fitted": {}, "best_score": None, "best_step": 0}
    notes = run.checkpoints.notes(newest)
    if notes["fingerprint"] != run.dataset.fingerprint:
        raise UserError(
            f"{run.workdir} was begun with other examples than {run.dataset.source} holds now: "
            "bring them back, or use another --workdir"
        )
    state = run.checkpoints.restore(newest, state)
    _describe(state)
    say(f"resumed from step {newest} of {run.total_steps}")
    return state, notes


def _describe(state: TrainState) -> None:
    params = merge_params(state.params, state.frozen)
    say(logs.describe_parameters(params))
    frozen = sum(leaf.size for leaf in jax.tree.leaves(state.frozen))
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    say(f"model: {total:,} parameters, {total - frozen:,} trained, {frozen:,} frozen")
    devices = jax.local_devices()
    say(f"devices: {len(devices)} x {devices[0].device_kind} ({devices[0].platform})")


def _check_best_metric(run: Run, state: TrainState) -> None:
    best_metric = run.config.checkpoint.best_metric
    if "val" not in run.dataset.splits or not best_metric:
        missing = (
            f"{run.dataset.source} has no val split" if best_metric else "best_metric is empty"
        )
        asks = _asks_for_validation(run.config)
        if asks:
            raise UserError(f"{asks} needs checkpoint.best_metric of a val split, but {missing}")
        return
    names = _metric_names(run, eval_variables(state.params, state.frozen, state.extra, {}))
    if best_metric not in names:
        raise UserError(
            f"checkpoint.best_metric={best_metric!r} is not a metric of task {run.config.task}: "
            f"use one of {', '.join(names)}"
        )


def _asks_for_validation(config: ConfigDict) -> str:
    """The setting that cannot work without a validation metric; '' if there is none."""
    if config.optimizer.schedule == "plateau":
        return "optimizer.schedule=plateau"
    return f"early_stop_epochs={config.early_stop_epochs}" if config.early_stop_epochs else ""


def _metric_names(run: Run, variables: Any) -> list[str]:
    """The names that evaluation will give, without running it."""
    row = run.dataset.splits["val"].read(0)
    batch = {name: np.stack([array]) for name, array in row.items()}
    batch["valid"] = np.ones(1, np.float32)
    shapes = jax.eval_shape(run.task.metrics, variables, batch, jax.random.key(0))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return list(run.task.summarize(zeros, {}))
