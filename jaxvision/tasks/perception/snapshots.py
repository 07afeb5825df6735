"""An ensemble for the price of one run: moving averages of some weights, kept as it trains.

The members are the same network at different times, as in snapshot ensembles (Huang et al. 2017,
arXiv 1704.00109), smoothed by a moving average in place of a cyclic learning rate. They live in a
collection of the model's variables, so they are saved, resumed and used with the rest.
"""

from typing import Any

import jax
import jax.numpy as jnp


def start(params: Any, count: int) -> dict[str, Any]:
    """Room for `count` snapshots of `params`; none is taken yet."""
    kept = jax.tree.map(lambda p: jnp.zeros((count, *p.shape), p.dtype), params)
    return {"steps": jnp.zeros((), jnp.int32), "average": params, "kept": kept}


def update(state: dict[str, Any], params: Any, every: int, decay: float) -> dict[str, Any]:
    """Moves the average; every `every` steps it takes the place of the oldest snapshot."""
    params, steps = jax.lax.stop_gradient(params), state["steps"] + 1
    share = jnp.where(steps == 1, 0.0, decay)
    average = jax.tree.map(lambda a, p: share * a + (1 - share) * p, state["average"], params)
    due = steps % every == 0

    def keep(kept, new):
        return jnp.where(due, jnp.roll(kept, 1, axis=0).at[0].set(new), kept)

    return {"steps": steps, "average": average, "kept": jax.tree.map(keep, state["kept"], average)}


def members(state: dict[str, Any], params: Any, every: int) -> tuple[Any, jax.Array]:
    """All members, `params` first, along a new axis; and a weight for each, 0 if not taken."""
    stacked = jax.tree.map(lambda p, kept: jnp.concatenate([p[None], kept]), params, state["kept"])
    count = len(jax.tree.leaves(stacked)[0])
    taken = (jnp.arange(count) <= state["steps"] // every).astype(jnp.float32)
    return stacked, taken / taken.sum()
