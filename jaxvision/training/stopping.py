"""SIGINT and SIGTERM in training; of several processes all stop at the same step.

Which step, the devices settle: every call of the train step takes a signal of each process, and
gives back the greatest with its token. All processes read the same token at the same step anyway,
so agreeing costs one number in a collective, and no wait.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxvision import hosts
from jaxvision.sharding import own_rows, shard_own_rows


def make_flags(mesh: Mesh, received: Sequence[int]) -> Callable[[], jax.Array | None]:
    """Returns flags() -> int32 [devices], the signal of each one's process; None for one process.

    Args:
      mesh: the devices.
      received: signals that came to this process; may grow.
    """
    if hosts.count() == 1:
        return lambda: None
    own = len(own_rows(mesh, mesh.size))
    made = {}

    def flags():
        number = received[0] if received else 0
        if number not in made:
            made[number] = shard_own_rows(mesh, np.full(own, number, np.int32), mesh.size)
        return made[number]

    return flags


def token(bad_step: jax.Array, flags: jax.Array | None) -> jax.Array:
    """What `read` reads; runs under jit."""
    return bad_step if flags is None else jnp.stack([bad_step, flags.max()])


def read(token: jax.Array, received: Sequence[int]) -> tuple[int, int]:
    """(first bad step or -1, the signal to stop for or 0); waits for the step of the token.

    Args:
      token: of a step.
      received: signals that came to this process, which alone decide where it is the only one.
    """
    if hosts.count() == 1:
        return int(token), received[0] if received else 0
    bad_step, number = np.asarray(token).tolist()
    return bad_step, number
