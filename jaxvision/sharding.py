"""Data parallelism: one mesh axis 'data', the state replicated, the batch split along it."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxvision.errors import UserError


def make_mesh(batch_sizes: dict[str, int]) -> Mesh:
    """A mesh of all local devices.

    Args:
      batch_sizes: {config key: batch size}; each must divide among the devices.

    Raises:
      UserError: a batch size does not divide among the devices.
    """
    if jax.process_count() > 1:
        raise UserError(
            f"{jax.process_count()} hosts share this program: one host alone can be used, with all "
            "its devices"
        )
    devices = jax.local_devices()
    for key, size in batch_sizes.items():
        if size < 1 or size % len(devices):
            raise UserError(
                f"{key}={size} does not divide among {len(devices)} devices: use a multiple"
            )
    # Auto axes: with explicit ones linen's Dropout fails on several devices.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The array is split along `axis`, the batch axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Puts host arrays on the devices, split along their first axis."""
    return jax.device_put(batch, batch_sharding(mesh))
