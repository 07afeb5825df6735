"""Data parallelism: one mesh axis 'data', the state replicated, the batch split along it.

Of several processes each has some of the mesh's devices; every array is one over all of them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from jaxvision import hosts
from jaxvision.errors import UserError


def make_mesh(batch_sizes: dict[str, int]) -> Mesh:
    """A mesh of all devices, those of each process side by side.

    Args:
      batch_sizes: {config key: batch size}; each must divide among the devices.

    Raises:
      UserError: a batch size does not divide among the devices.
    """
    if jax.process_count() != hosts.count():
        raise UserError(
            f"{jax.process_count()} processes share this program without knowing each other: begin "
            "them by main.py with --coordinator, --processes and --process"
        )
    alone = hosts.count() == 1
    devices = jax.local_devices() if alone else _by_process()
    for key, size in batch_sizes.items():
        if size < 1 or size % len(devices):
            raise UserError(
                f"{key}={size} does not divide among {len(devices)} devices: use a multiple"
            )
    # Auto axes: with explicit ones linen's Dropout fails on several devices.
    auto = (AxisType.Auto,)
    if alone:
        return jax.make_mesh((len(devices),), ("data",), axis_types=auto, devices=devices)
    return Mesh(np.array(devices), ("data",), axis_types=auto)


def _by_process() -> list[jax.Device]:
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def local_mesh(mesh: Mesh) -> Mesh:
    """The mesh for what a process computes without the others: one device, that of `local`."""
    if hosts.count() == 1:
        return mesh
    return Mesh(np.array(mesh.local_devices[:1]), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The array is split along `axis`, the batch axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def put(tree: Any, sharding: Sharding) -> Any:
    """Arrays that every process has, as arrays over all devices."""
    if hosts.count() == 1:
        return jax.device_put(tree, sharding)
    # device_put would compare the processes' arrays by a collective of its own.
    return jax.tree.map(lambda array: _place(np.asarray(array), sharding), tree)


def _place(array: np.ndarray, sharding: Sharding) -> jax.Array:
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Puts host arrays, whole in every process, on the devices, split along their first axis."""
    return put(batch, batch_sharding(mesh))


def own_rows(mesh: Mesh, size: int) -> range:
    """The rows of a batch of `size` that this process' devices hold."""
    owners = [device.process_index for device in mesh.devices.flat]
    each = size // len(owners)
    first = owners.index(jax.process_index())
    return range(first * each, (first + owners.count(jax.process_index())) * each)


def shard_own_rows(mesh: Mesh, batch: Any, size: int) -> Any:
    """Puts this process' rows of a batch of `size` on its devices: one batch over all processes."""
    if hosts.count() == 1:
        return jax.device_put(batch, batch_sharding(mesh))
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(
            sharding, rows, (size, *rows.shape[1:])
        ),
        batch,
    )


def to_host(mesh: Mesh, tree: Any) -> Any:
    """Arrays over all devices as host arrays, whole in every process."""
    if hosts.count() == 1:
        return jax.device_get(tree)
    return jax.tree.map(np.asarray, _whole(mesh)(tree))


@functools.cache
def _whole(mesh: Mesh) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))


def of_first(tree: Any) -> Any:
    """Host arrays of process 0, in every process."""
    return tree if hosts.count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def local(tree: Any) -> Any:
    """Replicated arrays as this process' own, for what it computes without the others."""
    if hosts.count() == 1:
        return tree
    return jax.tree.map(lambda array: array.addressable_data(0), tree)
