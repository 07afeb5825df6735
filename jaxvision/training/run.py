"""What a run consists of: config, data, task, optimizer and devices put together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision import hosts, logs
from jaxvision.checkpoint import Checkpoints, open_checkpoints
from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.exported import folder as exported_folder
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.dataset import Dataset, training_split
from jaxvision.models import encoder_options, encoders
from jaxvision.sharding import local, make_mesh, of_first, put, replicated
from jaxvision.task import Task
from jaxvision.tasks import find_system, find_task
from jaxvision.trained import trained_variables
from jaxvision.training import memory, optimizers
from jaxvision.training.train_state import (
    Beginning,
    TrainState,
    eval_variables,
    merge_params,
    trace_state,
)

ONLY_STAGES = ("segmentation", "perception")  # tasks that not every classifier is an encoder for


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


def check_ahead(config: ConfigDict, fresh: bool) -> None:
    """Finds what is bound to fail before any data is read, which may take long.

    Args:
      config: the run's.
      fresh: whether this run begins: a resumed one needs no weights to begin from.

    Raises:
      UserError: more memory than there is would be needed; the task, the path, the run to begin
        from or the encoder cannot be.
    """
    find_system(config.task)
    path = config.data.path
    ours = "." not in config.data.reader and not config.data.get("tfds")  # which makes its folder
    if path and ours and not Path(path).expanduser().exists():
        raise UserError(f"data.path={path!r} does not exist: give a file or folder of yours, or ''")
    if fresh and config.init_from and not Path(config.init_from).is_dir():
        what = "is a file" if Path(config.init_from).exists() else "does not exist"
        raise UserError(
            f"init_from={config.init_from!r} {what}: give the folder of a run or of an exported "
            "model, or ''"
        )
    for name, size in _batches(config).items():
        memory.refuse_pictures(config, name, size)
    if "encoder" in config.model:
        known = encoders.ENCODERS if config.task in ONLY_STAGES else encoders.CLASSIFIERS
        encoder_options.check(config, known, fresh)


def prepare(config: ConfigDict, workdir: str, dataset: Dataset, mesh: Mesh) -> Run:
    """Puts together what a config, its data and the devices determine.

    Raises:
      UserError: unknown task or model; a batch that cannot fit; a run too short for an update.
    """
    sizes = _batches(config)
    memory.refuse_batch(training_split(dataset), "batch_size", sizes["batch_size"])
    if "val" in dataset.splits:
        memory.refuse_batch(dataset.splits["val"], "eval.batch_size", sizes["eval.batch_size"])
    task = find_task(config, dataset.info)
    dataset = task.report.adapt(dataset)
    steps_per_epoch = max(1, round(len(training_split(dataset).names) / config.batch_size))
    total = config.train.steps or round(config.train.epochs * steps_per_epoch)
    accumulated = config.train.accumulate_steps
    if accumulated > total:
        raise UserError(
            f"train.accumulate_steps={accumulated} is more than the run's {total} steps: no update "
            "would be made; lower it, or train for longer"
        )
    keep = config.checkpoint
    checkpoints = open_checkpoints(workdir, keep.higher_is_better, keep.keep_every_steps)
    metrics = jax.jit(task.model.metrics)
    return Run(config, workdir, dataset, task, mesh, total, steps_per_epoch, checkpoints, metrics)


def _batches(config: ConfigDict) -> dict[str, int]:
    """{config key: rows of a batch that this process holds}."""
    sizes = {"batch_size": config.batch_size, "eval.batch_size": config.eval.batch_size}
    return {name: size // hosts.count() for name, size in sizes.items()}


def begin(run: Run, optimizer: Any) -> Beginning:
    """The beginning of a run, for `start`.

    Raises:
      UserError: the model cannot fit into memory.
    """
    config, row = run.config, training_split(run.dataset).read(0)
    size = _batches(config)["batch_size"]
    batch = {name: np.stack([array] * size) for name, array in row.items()}
    beginning = trace_state(
        run.task.model, optimizer, batch, config.seed, config.train.ema_decay, replicated(run.mesh)
    )
    memory.refuse_model(sum(a.size for a in jax.tree.leaves(beginning.init.out_info)))
    return beginning


def initial_state(run: Run, optimizer: Any, beginning: Beginning | None = None) -> TrainState:
    """The state before step 1, on the devices.

    Pretrained weights, and those of `init_from`, are loaded unless a checkpoint is there to take
    their place: a resumed run needs neither the network nor the file.

    Args:
      run: the run.
      optimizer: its optax transformation.
      beginning: of `begin`, where that is there already.

    Raises:
      UserError: the weights cannot be fetched or read, or do not fit; as `begin`.
    """
    model, beginning = run.task.model, beginning or begin(run, optimizer)
    variables = beginning.init.lower().compile(_init_options())(*beginning.arguments)
    if hosts.from_first(run.checkpoints.newest) is None:
        variables = model.load_weights(variables)
        if run.config.init_from:
            variables = _init_from(run, variables)
        variables = of_first(variables)
    return put(beginning.create(variables), replicated(run.mesh))


def _init_options() -> dict[str, int]:
    """Of a program that runs once: on a CPU LLVM compiles it in half the time, to the same bits."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def _init_from(run: Run, variables: dict[str, Any]) -> dict[str, Any]:
    """`variables` with all arrays of another run's best checkpoint, or an exported model, that fit.

    An array fits one of the same name and shape.
    """
    source = run.config.init_from
    if exported_folder.is_exported(source):
        loaded = exported_folder.read_variables(exported_folder.read(source))
    else:
        loaded = flatten_dict(trained_variables(source, run.mesh), sep="/")
    own = flatten_dict(variables, sep="/")
    fitting = {
        name: loaded[name]
        for name, leaf in own.items()
        if name in loaded and loaded[name].shape == leaf.shape
    }
    if not fitting:
        raise UserError(
            f"init_from={source!r}: none of its arrays has the name and shape of one of this "
            "model's; choose a run of the same kind of model, or ''"
        )
    others = [name for name in own if name not in fitting]
    say(f"init_from {source}: {len(fitting)} of {len(own)} arrays taken over")
    if others:
        say(f"  begun anew: {', '.join(others[:8])}{' ...' if len(others) > 8 else ''}")
    return unflatten_dict({**own, **fitting}, sep="/")


def make_optimizer(run: Run) -> Any:
    """The run's optax transformation."""
    return optimizers.make_optimizer(run.config, run.total_steps)


def start(run: Run, beginning: Beginning) -> tuple[TrainState, dict[str, Any]]:
    """The newest checkpoint's state and notes, or those of a fresh run.

    Args:
      run: the run.
      beginning: its.

    Raises:
      UserError: no such metric; weights that cannot be had; a checkpoint of another run.
    """
    state = initial_state(run, make_optimizer(run), beginning)
    _check_best_metric(run, eval_variables(state, run.config.train.ema_decay))
    newest_first = hosts.from_first(run.checkpoints.steps)[::-1]
    if not newest_first:
        _describe(run, state)
        data = {"info": run.dataset.info, "fingerprint": run.dataset.fingerprint}
        return state, {**data, "fitted": {}, "best_score": None, "best_step": 0}

    def load(step):
        notes = run.checkpoints.notes(step)
        # First: with other examples the model may have another shape, too.
        if notes["fingerprint"] != run.dataset.fingerprint:
            raise UserError(
                f"{run.workdir} was begun with other examples than {run.dataset.source} holds now: "
                "bring them back, or use another --workdir"
            )
        return notes, run.checkpoints.restore(step, state)

    step, (notes, state), damaged = run.checkpoints.first_intact(newest_first, load)
    hosts.check_same("checkpoint", str(step), run.workdir, "some of its files cannot be read there")
    if hosts.first():
        run.checkpoints.set_aside(damaged)
    _describe(run, state)
    say(f"resumed from step {step} of {run.total_steps}")
    return state, notes


def _describe(run: Run, state: TrainState) -> None:
    """A line for each part of the model; the table of all arrays goes to parameters.txt."""
    params, trained, frozen = (
        {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in trees.items()}
        for trees in (merge_params(state.params, state.frozen), state.params, state.frozen)
    )
    total, still = sum(params.values()), sum(frozen.values())
    say(f"model: {total:,} parameters, {total - still:,} trained, {still:,} frozen")
    for name, size in params.items():
        part = f", {frozen[name]:,} frozen" if name in frozen and name in trained else ""
        part = ", frozen" if name in frozen and name not in trained else part
        say(f"  {name}: {size:,}{part}")
    if hosts.first():
        logs.write_parameters(run.workdir, local(merge_params(state.params, state.frozen)))
    devices = run.mesh.devices.flat
    shared = f", of {hosts.count()} processes" if hosts.count() > 1 else ""
    say(f"devices: {len(devices)} x {devices[0].device_kind} ({devices[0].platform}){shared}")


def check_best_metric(config: ConfigDict) -> None:
    """Checks, as training will, that data and model can be had and give `best_metric`.

    Reads the data set, fetches and computes nothing.

    Raises:
      UserError: they cannot, or do not.
    """
    check_ahead(config, fresh=True)
    mesh = make_mesh({"batch_size": config.batch_size})
    run = prepare(config, "", loader.load_dataset(config), mesh)
    if not config.checkpoint.best_metric or "val" not in run.dataset.splits:
        raise UserError(
            f"{run.dataset.source} has no val split, or checkpoint.best_metric is empty: trials "
            "are compared by this metric of that split"
        )
    row = training_split(run.dataset).read(0)
    batch = {name: np.stack([array]) for name, array in row.items()}
    _check_best_metric(run, jax.eval_shape(run.task.model.init, jax.random.key(0), batch))


def _check_best_metric(run: Run, variables: Any) -> None:
    best_metric = run.config.checkpoint.best_metric
    if "val" not in run.dataset.splits or not best_metric:
        missing = (
            f"{run.dataset.source} has no val split" if best_metric else "best_metric is empty"
        )
        asks = _asks_for_validation(run.config)
        if asks:
            raise UserError(f"{asks} needs checkpoint.best_metric of a val split, but {missing}")
        return
    names = _metric_names(run, variables)
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
    shapes = jax.eval_shape(run.task.model.metrics, variables, batch, jax.random.key(0))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return list(run.task.report.metrics(zeros, {}))
