"""Our side of `benchmarks.throughput`: the step, the loop around it and inference, in images."""

import collections
import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from benchmarks.timing import Contestant
from jaxvision import train
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.dataset import training_split
from jaxvision.input_pipeline.parallel import cpu_threads
from jaxvision.models import encoders, pretrained
from jaxvision.sharding import make_mesh, shard_batch
from jaxvision.training.advance import jitted_steps, make_advance
from jaxvision.training.run import Run, make_optimizer, prepare
from jaxvision.training.train_state import (
    TrainState,
    create_state,
    eval_variables,
)


def make_run(config: ConfigDict, workdir: str) -> Run:
    """The run that `main.py` would train in `workdir`, without an end in sight."""
    config = ConfigDict(config.to_dict())
    config.train.steps = 1_000_000  # so that the stream of batches outlasts the benchmark
    mesh = make_mesh({"batch_size": config.batch_size})
    return prepare(config, workdir, loader.load_dataset(config), mesh)


def first_batch(run: Run) -> dict[str, np.ndarray]:
    """Batch 0 of the training stream, on the host."""
    split, config = training_split(run.dataset), run.config
    rows = loader.train_rows(0, 1, config.batch_size, config.seed, len(split.names))[0]
    examples = [split.read(int(row)) for row in rows]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def state_shapes(run: Run) -> TrainState:
    """The shapes of `initial_state`; nothing is run."""
    batch, model = first_batch(run), run.task.model

    def make():
        variables = model.init(jax.random.key(0), batch)
        return create_state(
            model, make_optimizer(run), variables, batch, run.config.train.ema_decay
        )

    return jax.eval_shape(make)


def in_call_order(run: Run) -> list[tuple[str, ...]]:
    """The paths of the model's arrays by layers, in the order in which these are called."""
    paths = []

    def init():
        # Read inside the trace: what a traced function returns is sorted by name.
        variables = run.task.model.init(jax.random.key(0), first_batch(run))
        paths.extend(flatten_dict(variables))

    jax.eval_shape(init)
    return paths


def bare_step(run: Run, state: TrainState, batch: dict[str, np.ndarray]) -> Contestant:
    """Train steps on one batch that stays on the device."""
    config, (step, _) = run.config, jitted_steps(run)
    state, batch = own_copy(state), shard_batch(run.mesh, batch)

    def go(images):
        nonlocal state
        count = math.ceil(images / config.batch_size)
        for _ in range(count):
            state, _ = step(state, batch)
        jax.block_until_ready(state)
        return count * config.batch_size

    return Contestant(go)


def whole_loop(run: Run, state: TrainState, resident: bool) -> Contestant:
    """What `train.py` does between two evaluations, data included.

    `make_advance` is the loop's own; around it the wait for the call before the last and the
    reading of the sums at every log line, a call late, as in the loop. No file is written.
    """
    config = ConfigDict(run.config.to_dict())
    config.data.resident = str(resident).lower()
    feed = loader.open_training_feed(run.dataset, config, run.mesh)
    advance = make_advance(run, feed, 0)
    state, step = own_copy(state), 0
    on_cpu = jax.default_backend() == "cpu"
    per_call = config.train.steps_per_call or (1 if on_cpu else 10)

    def go(images):
        nonlocal state, step
        calls, tokens = math.ceil(images / config.batch_size / per_call), collections.deque()
        unread = None
        for _ in range(calls):
            state, token = advance(state, step, per_call)
            step += per_call
            tokens.append(token)
            if unread:
                jax.device_get(unread)
                unread = None
            if len(tokens) > train.CALLS_AHEAD:
                int(tokens.popleft())
            if step % config.log.every_steps < per_call:
                unread = state.sums
                state = state.replace(sums=train.cleared(unread))
        jax.block_until_ready(state)
        return calls * per_call * config.batch_size

    ahead = 0 if resident else loader.DEVICE_BATCHES_AHEAD + 2 * cpu_threads()
    return Contestant(go, (1 + ahead) * config.batch_size)


def inference(run: Run, state: TrainState, images: np.ndarray) -> Contestant:
    """Predictions of a batch of uint8 images on the host."""
    variables = eval_variables(state, run.config.train.ema_decay)
    predict = jax.jit(run.task.model.predict)

    def go(wanted):
        count = math.ceil(wanted / len(images))
        for _ in range(count):
            outputs = predict(variables, shard_batch(run.mesh, images))
        jax.block_until_ready(outputs)
        return count * len(images)

    return Contestant(go)


def onnx_inference(run: Run, state: TrainState, images: np.ndarray) -> Contestant:
    """The same through the model that `--mode=export` writes, on onnxruntime ([onnx])."""
    import onnxruntime

    from jaxvision.export import programs
    from jaxvision.export.onnx.convert import to_onnx

    model, variables = run.task.model, eval_variables(state, run.config.train.ema_decay)
    flat = {n: np.asarray(a) for n, a in flatten_dict(variables, sep="/").items()}
    shape = programs.input_shape(model)
    exported = to_onnx(
        programs.of_flat(model), flat, shape, constraints=programs.constraints(shape)
    )
    session = onnxruntime.InferenceSession(exported.SerializeToString())
    name = session.get_inputs()[0].name

    def go(wanted):
        count = math.ceil(wanted / len(images))
        for _ in range(count):
            session.run(None, {name: images})
        return count * len(images)

    return Contestant(go)


def random_weights(config: ConfigDict, folder: Path) -> str:
    """A file of random weights for a config's encoder, which may then be frozen: its path."""
    name = config.model.encoder.name
    model = encoders.make(name, num_classes=0)
    init = jax.jit(functools.partial(model.init, train=False))
    variables = init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    path = Path(folder) / f"{name}.safetensors"
    pretrained.save(path, name, model, variables, "random, for a benchmark")
    return str(path)


def own_copy(state: TrainState) -> TrainState:
    """For a step that consumes what it is given."""
    return jax.tree.map(jnp.copy, state)


def trained_parameters(state: TrainState) -> int:
    """How many parameters are not frozen."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))
