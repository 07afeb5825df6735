"""Data that stay on the devices: whole on each of them, or a part on each.

Of a split that is split up, a device's rows of a batch lie on other devices: each sends what it has
of all rows, and sums of what each has (zeros elsewhere) give every device its own.
"""

import functools
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvision import cache
from jaxvision.input_pipeline.composite import Composite, Resident, take_rows
from jaxvision.input_pipeline.dataset import Dataset, Split, fingerprint
from jaxvision.input_pipeline.filling import Filling
from jaxvision.input_pipeline.parallel import cpu_threads, threaded
from jaxvision.sharding import put, replicated

# Over which devices the rows are split: none, those of each process (which has them all), or all.
WHOLE, OVER_LOCAL, OVER_ALL = (), ("device",), ("process", "device")


def find_split(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> tuple[str, ...] | None:
    """Over which axes resident data are split; None: they stream.

    The first of whole, over each process' devices and over all, that gives no device more than
    data.resident_gib. data.resident=true takes the last where none does.
    """
    choice = str(config.data.resident).lower()
    if choice == "false":
        return None
    size = gib(dataset)
    for axes in (WHOLE, OVER_LOCAL, OVER_ALL):
        if size / parts(mesh, axes) <= config.data.resident_gib:
            return axes
    if choice == "auto":
        return None
    return OVER_ALL if mesh.size > 1 else WHOLE


def parts(mesh: Mesh, axes: tuple[str, ...]) -> int:
    """Into how many parts data are split over `axes`."""
    return int(np.prod([_grid(mesh).shape[axis] for axis in axes], dtype=int))


def describe(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> str:
    """Where the data are, and what of them a device holds."""
    axes = find_split(config, dataset, mesh)
    if axes is None:
        return "streaming"
    if not axes:
        return "resident on the device"
    each = gib(dataset) / parts(mesh, axes)
    whose = "each process' devices" if axes == OVER_LOCAL else "all devices"
    return (
        f"resident, split over {whose}: {each:.2g} GiB on each of {parts(mesh, axes)} "
        f"(data.resident_gib={config.data.resident_gib:g})"
    )


def resident(
    split: Split, key: str, mesh: Mesh, axes: tuple[str, ...], filling: Filling | None = None
) -> Any:
    """The arrays of a split on the devices, for `make_take` of the same axes.

    Args:
      split: is decoded, or of a Composite its pool.
      key: of the decoded cache.
      mesh: the devices.
      axes: as of `find_split`.
      filling: as of `decoded`, of data that lie whole on each device.
    """
    if isinstance(split.read, Composite):
        pool = resident(split.read.pool, key, mesh, axes)
        return Resident(pool, *put((split.read.parts, split.read.columns), replicated(mesh)))
    if not axes:
        return put(decoded(split, key, filling=filling), replicated(mesh))
    rows = _held(mesh, axes, len(split.names))
    return place(decoded(split, key, rows), mesh, axes, len(split.names), rows.start)


def place(
    arrays: dict[str, np.ndarray], mesh: Mesh, axes: tuple[str, ...], count: int, start: int = 0
) -> dict[str, jax.Array]:
    """Host arrays of rows `start` and on, of `count`, on the devices."""
    if not axes:
        return put(arrays, replicated(mesh))
    each = _each(mesh, axes, count)
    sharding = NamedSharding(_grid(mesh), P(axes))

    def rows_of(array, index):
        first = index[0].start or 0
        rows = np.zeros((each, *array.shape[1:]), array.dtype)
        found = array[first - start : min(first + each, count) - start]
        rows[: len(found)] = found
        return rows

    total = each * parts(mesh, axes)
    return {
        name: jax.make_array_from_callback(
            (total, *array.shape[1:]), sharding, functools.partial(rows_of, array)
        )
        for name, array in arrays.items()
    }


def _held(mesh: Mesh, axes: tuple[str, ...], count: int) -> range:
    """The rows that this process' devices hold."""
    if axes == OVER_LOCAL:
        return range(count)
    owners = [device.process_index for device in mesh.devices.flat]
    each, first = _each(mesh, axes, count), owners.index(jax.process_index())
    last = first + owners.count(jax.process_index())
    return range(min(first * each, count), min(last * each, count))


def _each(mesh: Mesh, axes: tuple[str, ...], count: int) -> int:
    return -(-count // parts(mesh, axes))


def _grid(mesh: Mesh) -> Mesh:
    """The mesh as processes x devices of each; as one row where these numbers differ."""
    owners = [device.process_index for device in mesh.devices.flat]
    processes = len(set(owners))
    alike = len({owners.count(owner) for owner in owners}) == 1
    grid = mesh.devices.reshape(processes if alike else 1, -1)
    return Mesh(grid, OVER_ALL, axis_types=(AxisType.Auto,) * 2)


@functools.cache
def make_take(mesh: Mesh, axes: tuple[str, ...]) -> Callable[[Any, jax.Array], dict]:
    """Returns take(arrays, rows [B]) -> {name: [B, ...]}, under jit, of `resident` arrays."""
    if not axes:
        return take_rows
    grid = _grid(mesh)
    whole = tuple(axis for axis in OVER_ALL if axis not in axes)  # whose devices ask together
    fetch = jax.shard_map(
        functools.partial(_fetch, axes), mesh=grid, in_specs=(P(axes), P(whole or None)),
        out_specs=P(OVER_ALL),
    )  # fmt: skip

    def take(data, rows):
        if isinstance(data, Resident):
            asked = jnp.take(data.parts, rows, axis=0)  # [B, k]
            taken = take(data.pool, asked.reshape(-1))
            taken = {n: array.reshape(*asked.shape, *array.shape[1:]) for n, array in taken.items()}
            return {**taken, **{n: jnp.take(a, rows, axis=0) for n, a in data.columns.items()}}
        return {name: fetch(array, rows) for name, array in data.items()}

    return take


def _fetch(axes, held, rows):
    """A device's rows out of those asked for together; `held` [n, ...] is its part of the data."""
    offset = rows - jax.lax.axis_index(axes) * len(held)
    here = (offset >= 0) & (offset < len(held))
    found = jnp.take(held, jnp.where(here, offset, 0), axis=0)
    bits = found.astype(jnp.uint8) if held.dtype == bool else _as_bits(found)
    bits = jnp.where(here.reshape(-1, *[1] * (held.ndim - 1)), bits, 0)
    bits = jax.lax.psum_scatter(bits, axes, scatter_dimension=0, tiled=True)
    return (
        bits.astype(bool) if held.dtype == bool else jax.lax.bitcast_convert_type(bits, held.dtype)
    )


def _as_bits(array):
    """As unsigned numbers: sums of them with zeros are exact, whatever they stand for."""
    return jax.lax.bitcast_convert_type(array, f"uint{8 * array.dtype.itemsize}")


def gib(dataset: Dataset) -> float:
    """Size of all splits once decoded, GiB; of a composite, its pool's."""
    splits = [*dataset.splits.values(), *([dataset.training] if dataset.training else [])]
    splits = [s.read.pool if isinstance(s.read, Composite) else s for s in splits]
    sizes = [len(s.names) * sum(a.nbytes for a in s.read(0).values()) for s in splits]
    return sum(sizes) / 2**30


def decoded(
    split: Split, key: str, part: range | None = None, filling: Filling | None = None
) -> dict[str, np.ndarray]:
    """The rows of a split, decoded once and kept on disk: {name: [N, ...]}, memory mapped.

    Args:
      split: is read.
      key: of the data; names and shapes are added to it.
      part: the rows that are wanted; None: all.
      filling: sees all rows as they come, and says in which order.
    """
    first = split.read(0)
    names = split.names if part is None else [split.names[row] for row in part]
    count = len(names)
    shapes = {name: ((count, *a.shape), a.dtype) for name, a in first.items()}
    key = fingerprint([key, cache.code_version(), *names, *shapes.items()])
    paths = {name: cache.cache_dir() / "decoded" / f"{key}_{name}.npy" for name in first}
    kept = {name: _read_array(path, *shapes[name]) for name, path in paths.items()}
    if all(array is not None for array in kept.values()):
        return kept
    rows = range(count) if part is None else part
    rows, filling = (filling.order, filling) if filling else (rows, Filling(range(count)))
    arrays = {name: np.empty(*shape) for name, shape in shapes.items()}
    filling.begin(arrays)
    read = threaded(split.read, rows, "decoding images", cpu_threads())
    for i, row in zip(filling.order, read, strict=True):
        for name, array in row.items():
            arrays[name][i] = array
        filling.add(i)
    written = [
        cache.keep(path, arrays[name].nbytes, functools.partial(_write_array, arrays[name]))
        for name, path in paths.items()
    ]
    if not all(written):
        return arrays
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}


def _write_array(array: np.ndarray, file: BinaryIO) -> None:
    """An npy file, and after it a checksum, which numpy does not look at."""
    np.save(file, array, allow_pickle=False)
    file.write(_checksum(array))


def _read_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """What `_write_array` wrote, memory mapped; None where there is nothing or it is damaged."""
    if not path.exists():
        return None
    try:
        array = np.load(path, mmap_mode="r")
        with open(path, "rb") as file:
            file.seek(-4, os.SEEK_END)
            whole = (array.shape, array.dtype) == (shape, dtype) and file.read() == _checksum(array)
    except (OSError, ValueError, EOFError):
        whole = False
    if not whole:
        cache.discard(path)
        return None
    cache.use(path)
    return array


def _checksum(array: np.ndarray) -> bytes:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8)).to_bytes(4)
