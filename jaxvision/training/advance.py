"""Training on the next batches: the compiled steps, and the rows that they get.

A run's first steps begin before its data are whole: the program is compiled, and examples are
decoded in the order in which they are asked for, while the run starts.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.composite import take_rows
from jaxvision.input_pipeline.filling import Filling
from jaxvision.input_pipeline.parallel import in_thread
from jaxvision.sharding import batch_sharding, put, replicated
from jaxvision.training import cadence, stopping
from jaxvision.training.run import Run, make_optimizer
from jaxvision.training.train_state import TrainState, make_train_step, run_steps


class Ahead(NamedTuple):
    """What is made while the run starts, for steps that begin before the feed is whole.

    Attributes:
      outline: of the feed.
      programs: `jitted_steps`, the first one compiled.
      filling: the feed's rows, as they come.
      opening: the feed.
    """

    outline: loader.Feed
    programs: Future[tuple[Callable, Callable]]
    filling: Filling
    opening: Future[loader.Feed]


def make_advance(
    run: Run,
    feed: loader.Feed,
    start: int,
    signals: Sequence[int] = (),
    ahead: Ahead | None = None,
) -> Callable:
    """Returns advance(state, step, count) -> (state, token): trains on `count` batches.

    The token, for `stopping.read`, is an array that outlives the state, which the next call
    consumes: the first bad step, and a signal that one of several processes received. With
    `ahead`, `feed` is its outline.
    """
    config, size = run.config, len(feed.split.names)
    step_once, step_many = ahead.programs.result() if ahead else jitted_steps(run, feed.take)
    received = stopping.make_flags(run.mesh, signals)
    if feed.arrays is None:
        batches = loader.train_batches(feed, config.seed, config.batch_size, start, run.total_steps)

        def advance(state, step, count):
            for _ in range(count):
                state, token = step_once(state, next(batches), received())
            return state, token

        return advance

    def advance(state, step, count):
        rows = loader.train_rows(
            step, count, config.batch_size, config.seed, size, feed.split.weights
        )
        arrays = _arrays_with(ahead, run.mesh, rows) if ahead else feed.arrays
        rows = put(rows, batch_sharding(run.mesh, axis=1))
        return step_many(arrays, state, rows, received())

    return advance


def jitted_steps(run: Run, take: Callable = take_rows) -> tuple[Callable, Callable]:
    """The programs of the loop, which consume the state; both give (state, token).

    Args:
      take: (data, rows [B]) -> batch, as of the feed.

    Returns:
      step_once: (state, batch, flags).
      step_many: (data, state, rows [K, B], flags), K steps through the resident data of a feed.
        The flags are those of `stopping.make_flags`; None for one process.
    """
    config = run.config
    train_step = make_train_step(
        run.task.model,
        make_optimizer(run),
        config.seed,
        config.train.ema_decay,
        config.train.accumulate_steps,
    )
    jit = functools.partial(jax.jit, out_shardings=replicated(run.mesh))

    def step_once(state, batch, flags=None):
        state = train_step(state, batch)
        return state, stopping.token(state.bad_step, flags)

    def step_many(data, state, rows, flags=None):
        state = run_steps(train_step, take, data, state, rows)
        return state, stopping.token(state.bad_step, flags)

    return jit(step_once, donate_argnums=0), jit(step_many, donate_argnums=1)


def begin_ahead(run: Run, state: TrainState) -> Ahead | None:
    """Begins to compile the loop's program, for a state of these shapes, and then to decode data.

    None where the first step takes more than some rows.
    """
    config, data = run.config, (run.dataset, run.config, run.mesh)
    outline = None if run.task.model.condense else loader.outlined(*data)
    if outline is None:
        return None
    step = run.checkpoints.newest() or 0
    order = loader.first_asked(config.seed, config.batch_size, step, outline.split)
    rows = jax.ShapeDtypeStruct(
        (cadence.count(run, step), config.batch_size),
        jnp.int32,
        sharding=batch_sharding(run.mesh, axis=1),
    )

    def compiled():
        programs = jitted_steps(run, outline.take)
        programs[1].lower(outline.arrays, state, rows, None).compile()  # a call then finds it
        return programs

    programs = in_thread(compiled)
    filling = Filling(order, programs)
    opening = in_thread(loader.open_training_feed, *data, filling)
    return Ahead(outline, programs, filling, opening)


def _arrays_with(ahead: Ahead, mesh: Mesh, rows: np.ndarray) -> Any:
    """The feed's arrays; until they are whole, others that hold `rows`."""
    early = ahead.filling.wait(rows, ahead.opening)
    return ahead.opening.result().arrays if early is None else put(early, replicated(mesh))
