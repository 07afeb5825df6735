"""Feeds a split to the device, resident or streaming; both give the very same batches.

Position p of the endless training stream is example `permutation(seed, epoch)[p % N]` of epoch
p // N, and batch t holds positions t * B to t * B + B - 1. So a batch depends on (seed, t) alone:
a resumed run needs no loader state, and no example is left out when B does not divide N. Where a
split has weights, an epoch draws N rows in proportion to them in place of a permutation.
"""

import collections
import contextlib
import functools
import importlib
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision import cache
from jaxvision.errors import UserError
from jaxvision.input_pipeline import pixels
from jaxvision.input_pipeline.composite import Composite, Resident, take_rows
from jaxvision.input_pipeline.dataset import Dataset, Split, fingerprint, training_split
from jaxvision.input_pipeline.parallel import cpu_threads, threaded
from jaxvision.input_pipeline.streaming import host_batches
from jaxvision.sharding import replicated, shard_batch

DEVICE_BATCHES_AHEAD = 2  # transfers that overlap with the step


class Feed(NamedTuple):
    """A split on its way to the device.

    Attributes:
      split: what is fed.
      arrays: {name: [N, ...]}, or a Resident composite, on the device, replicated; None when
        streaming.
      workers: decoding processes of the streaming path; 0 decodes in threads.
      mesh: the devices.
    """

    split: Split
    arrays: dict[str, jax.Array] | Resident | None
    workers: int
    mesh: Mesh


def load_dataset(config: ConfigDict) -> Dataset:
    """What the module `data.reader` loads: readers.<name>, or synthetic.<name> without data.path.

    A name with a dot in it is an importable module of one's own.

    Raises:
      UserError: the path holds nothing usable; the message says why.
    """
    if not config.data.path:
        pixels.refuse_range(config.data.range, "data.path is not set")
    name = config.data.reader
    if "." not in name:
        name = f"jaxvision.input_pipeline.{'readers' if config.data.path else 'synthetic'}.{name}"
    reader = importlib.import_module(name)
    if not hasattr(reader, "load"):
        raise UserError(f"data.reader={config.data.reader!r} is no reader: it has no load(config)")
    return reader.load(config)


def open_feed(dataset: Dataset, name: str, config: ConfigDict, mesh: Mesh) -> Feed:
    """Feeds split `name`: resident where `data.resident` says so, or (auto) where it all fits."""
    return _open(dataset, dataset.splits[name], name, config, mesh)


def open_training_feed(dataset: Dataset, config: ConfigDict, mesh: Mesh) -> Feed:
    """Feeds what is trained on: `training_split`, as `open_feed` would."""
    name = "training" if dataset.training else "train"
    return _open(dataset, training_split(dataset), name, config, mesh)


def _open(dataset: Dataset, split: Split, name: str, config: ConfigDict, mesh: Mesh) -> Feed:
    choice = str(config.data.resident).lower()
    resident = choice == "true" or (choice == "auto" and gib(dataset) <= config.data.resident_gib)
    arrays, key = None, f"{dataset.fingerprint}_{name}"
    if resident:
        if isinstance(split.read, Composite):
            arrays = Resident(decoded(split.read.pool, key), split.read.parts, split.read.columns)
        else:
            arrays = decoded(split, key)
        arrays = jax.device_put(arrays, replicated(mesh))
    return Feed(split, arrays, config.data.workers, mesh)


def condensed(feed: Feed, condense: Callable, batch_size: int) -> Feed:
    """A resident feed of what `condense` makes of its batches, each row once.

    Raises:
      UserError: the feed streams.
    """
    if feed.arrays is None:
        raise UserError(
            "what a frozen encoder sees can only be kept for data that is resident: set "
            "data.resident=true, or let the encoder see the images at every step"
        )
    if isinstance(feed.arrays, Resident):
        pool = feed._replace(split=feed.split.read.pool, arrays=feed.arrays.pool)
        pool = condensed(pool, condense, batch_size)
        return feed._replace(arrays=feed.arrays._replace(pool=pool.arrays))
    parts = [jax.device_get(condense(batch)) for batch in eval_batches(feed, batch_size)]
    count = len(feed.split.names)
    arrays = {n: np.concatenate([p[n] for p in parts])[:count] for n in parts[0] if n != "valid"}
    return feed._replace(arrays=jax.device_put(arrays, replicated(feed.mesh)))


def gib(dataset: Dataset) -> float:
    """Size of all splits once decoded, GiB; of a composite, its pool's."""
    splits = [*dataset.splits.values(), *([dataset.training] if dataset.training else [])]
    splits = [s.read.pool if isinstance(s.read, Composite) else s for s in splits]
    sizes = [len(s.names) * sum(a.nbytes for a in s.read(0).values()) for s in splits]
    return sum(sizes) / 2**30


def decoded(split: Split, key: str) -> dict[str, np.ndarray]:
    """Every row of a split, decoded once and kept on disk: {name: [N, ...]}, memory mapped."""
    first = split.read(0)
    count = len(split.names)
    shapes = {name: ((count, *a.shape), a.dtype) for name, a in first.items()}
    key = fingerprint([key, cache.code_version(), *split.names, *shapes.items()])
    paths = {name: cache.cache_dir() / "decoded" / f"{key}_{name}.npy" for name in first}
    kept = {name: _read_array(path, *shapes[name]) for name, path in paths.items()}
    if all(array is not None for array in kept.values()):
        return kept
    arrays = {name: np.empty(*shape) for name, shape in shapes.items()}
    for i, row in enumerate(threaded(split.read, range(count), "decoding images", cpu_threads())):
        for name, array in row.items():
            arrays[name][i] = array
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


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, size: int, weights: bytes = b"") -> np.ndarray:
    """The order of one epoch, int32 [size]; depends on its arguments alone.

    With weights (float32 [size] as bytes) each row comes about size * weight / sum times: rounded
    down or up by evenly spaced draws, so an epoch strays from that by less than one a row.
    """
    rng = np.random.default_rng((seed, epoch))
    if not weights:
        return rng.permutation(size).astype(np.int32)
    order = rng.permutation(size)  # of the rows along the ruler: other neighbours every epoch
    ends = np.cumsum(np.frombuffer(weights, np.float32)[order], dtype=np.float64)
    marks = (np.arange(size) + rng.random()) * (ends[-1] / size)
    rows = order[np.searchsorted(ends, marks, side="right").clip(0, size - 1)]
    return rng.permutation(rows).astype(np.int32)


def train_row(position: int, seed: int, size: int, weights: bytes = b"") -> int:
    """The row at a position of the training stream."""
    return int(permutation(seed, position // size, size, weights)[position % size])


def train_rows(
    start: int, steps: int, batch_size: int, seed: int, size: int, weights: bytes = b""
) -> np.ndarray:
    """Rows of batches `start` to `start + steps - 1`: int32 [steps, batch_size]."""
    first, last = start * batch_size, (start + steps) * batch_size
    epochs = range(first // size, (last - 1) // size + 1)
    stream = np.concatenate([permutation(seed, epoch, size, weights) for epoch in epochs])
    offset = epochs.start * size
    return stream[first - offset : last - offset].reshape(steps, batch_size)


def train_batches(feed: Feed, seed: int, batch_size: int, start: int, stop: int) -> Iterator[Any]:
    """Device batches `start` to `stop - 1` of the training stream."""
    size, weights = len(feed.split.names), feed.split.weights
    if feed.arrays is not None:
        for step in range(start, stop):
            yield _gather(feed, train_rows(step, 1, batch_size, seed, size, weights)[0])
        return
    row_of = functools.partial(train_row, seed=seed, size=size, weights=weights)
    steps = range(start, stop)
    batches = host_batches(feed.split.read, row_of, batch_size, steps, feed.workers, endless=False)
    with contextlib.closing(batches):
        yield from _put_ahead(feed.mesh, batches)


class EvalRounds:
    """Every row of a split once a round, in order: iterated over, it gives one round.

    The last batch is padded with rows whose 'valid' is 0. When streaming, the processes that
    decode are started in the first round, and live until `close`.

    Args:
      feed: the split.
      batch_size: rows a batch.
      endless: whether another round may follow, which is then decoded ahead.
    """

    def __init__(self, feed: Feed, batch_size: int, endless: bool = True):
        self.feed = feed
        size = len(feed.split.names)
        batches = -(-size // batch_size)
        rows = np.arange(batches * batch_size).reshape(batches, batch_size)
        self.valid = (rows < size).astype(np.float32)
        self.rows = np.where(rows < size, rows, 0)
        if feed.arrays is None:
            row_of = functools.partial(_row_or_first, size=size)
            steps, read = range(batches), feed.split.read
            self.host = host_batches(read, row_of, batch_size, steps, feed.workers, endless)

    def __iter__(self) -> Iterator[Any]:
        """Device batches with 'valid', float32 [B], beside the split's own arrays."""
        feed = self.feed
        if feed.arrays is not None:
            source = (_gather(feed, batch_rows) for batch_rows in self.rows)
        else:
            source = _put_ahead(feed.mesh, itertools.islice(self.host, len(self.rows)))
        for batch, valid in zip(source, self.valid, strict=True):
            yield {**batch, "valid": shard_batch(feed.mesh, valid)}

    def close(self) -> None:
        """Ends what decodes."""
        if self.feed.arrays is None:
            self.host.close()


def eval_batches(feed: Feed, batch_size: int) -> Iterator[Any]:
    """One round of `EvalRounds`."""
    with contextlib.closing(EvalRounds(feed, batch_size, endless=False)) as batches:
        yield from batches


def host_rows(feed: Feed, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """The given rows as host arrays: for figures."""
    examples = [feed.split.read(int(row)) for row in rows]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _row_or_first(position: int, size: int) -> int:
    return position if position < size else 0


_take = jax.jit(take_rows)


def _gather(feed: Feed, rows: np.ndarray) -> Any:
    return _take(feed.arrays, shard_batch(feed.mesh, rows))


def _put_ahead(mesh: Mesh, batches: Iterator[Any]) -> Iterator[Any]:
    """Puts a few batches on the devices ahead of their use."""
    ahead = collections.deque()
    for batch in batches:
        ahead.append(shard_batch(mesh, batch))
        if len(ahead) > DEVICE_BATCHES_AHEAD:
            yield ahead.popleft()
    yield from ahead
