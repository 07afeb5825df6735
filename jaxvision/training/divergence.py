"""Why a loss or gradient was not finite: the weights, the data, or the size of the steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import hosts
from jaxvision.input_pipeline import loader
from jaxvision.sharding import replicated
from jaxvision.training.run import Run, initial_state, make_optimizer
from jaxvision.training.train_state import merge_params

NAMED = 3  # examples of a batch that a message names


def explain(run: Run, feed: loader.Feed, bad_step: int) -> str:
    """What is to blame for a step, from its batch under the last weights that were saved.

    Args:
      run: its checkpoints must be on disk.
      feed: what it trains on.
      bad_step: the first step whose loss or gradient was not finite, counted from 1.
    """
    kept = hosts.from_first(run.checkpoints.newest)
    params, extra = _weights(run, kept)
    begun = f"step {kept}" if kept else "the beginning"
    if not _finite((params, extra)):
        return f"The weights of {begun} are not finite themselves: begin with others"
    config, split = run.config, feed.split
    rows = loader.train_rows(
        bad_step - 1, 1, config.batch_size, config.seed, len(split.names), split.weights
    )[0]
    if feed.arrays is None or hosts.count() > 1:
        batch = loader.host_rows(feed, rows)
    else:
        batch = jax.device_get(feed.take(feed.arrays, jnp.asarray(rows)))
    names = ", ".join(str(split.names[int(row)]) for row in rows[:NAMED])
    if not _finite(_gradient(run, params, extra, batch, bad_step)):
        return (
            f"The weights of {begun} give no finite gradient for its batch either: look for bad "
            f"values in the data ({names}, ...), or choose another loss"
        )
    return (
        f"The weights of {begun} are fine with its batch, so the steps since then were too large: "
        "lower optimizer.learning_rate or optimizer.clip_norm"
    )


def _weights(run: Run, kept: int | None) -> tuple[Any, Any]:
    if kept is None:
        state = vars(initial_state(run, make_optimizer(run)))
    else:
        state = run.checkpoints.restore_as_saved(kept, replicated(run.mesh))
    return merge_params(state["params"], state["frozen"]), state["extra"]


def _gradient(run: Run, params: Any, extra: Any, batch: Any, step: int) -> Any:
    """The gradient of the step as it was taken, random numbers included."""
    model = run.task.model
    key = jax.random.fold_in(jax.random.key(run.config.seed), step - 1)
    augment_key, loss_key = jax.random.split(key)

    def loss(params):
        return model.loss(params, extra, model.augment(augment_key, batch), loss_key)[0]

    return jax.jit(jax.value_and_grad(loss))(params)


def _finite(tree: Any) -> bool:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if np.issubdtype(leaf.dtype, np.inexact)]
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)
