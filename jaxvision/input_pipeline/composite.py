"""Rows made of others: pairs of photos, say, that hold each photo once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.input_pipeline.dataset import Split


class Composite(NamedTuple):
    """The `read` of a split whose rows are made of a pool's.

    Attributes:
      pool: each example once.
      parts: int32 [rows, k]: each row stacks k of the pool.
      columns: {name: array [rows, ...]}, what is known of the rows themselves.
    """

    pool: Split
    parts: np.ndarray
    columns: dict[str, np.ndarray]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        read = [self.pool.read(int(i)) for i in self.parts[row]]
        examples = {name: np.stack([one[name] for one in read]) for name in read[0]}
        return {**examples, **{name: column[row] for name, column in self.columns.items()}}


class Resident(NamedTuple):
    """A Composite on the device: the pool's arrays {name: [N, ...]}, parts and columns."""

    pool: dict[str, jax.Array]
    parts: jax.Array
    columns: dict[str, jax.Array]


def take_rows(data: dict[str, jax.Array] | Resident, rows: jax.Array) -> dict[str, jax.Array]:
    """The given rows of a resident split: {name: [B, ...]}. Runs under jit."""
    if not isinstance(data, Resident):
        return {name: jnp.take(array, rows, axis=0) for name, array in data.items()}
    parts = jnp.take(data.parts, rows, axis=0)
    gathered = {name: jnp.take(array, parts, axis=0) for name, array in data.pool.items()}
    return {**gathered, **{name: jnp.take(a, rows, axis=0) for name, a in data.columns.items()}}
