"""Feeds a split to the device, resident or streaming; both give the very same batches.

Position p of the endless training stream is example `permutation(seed, epoch)[p % N]` of epoch
p // N, and batch t holds positions t * B to t * B + B - 1. So a batch depends on (seed, t) alone:
a resumed run needs no loader state, and no example is left out when B does not divide N. Where a
split has weights, an epoch draws N rows in proportion to them in place of a permutation.
"""

import collections
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline import pixels, resident
from jaxvision.input_pipeline.composite import Resident
from jaxvision.input_pipeline.dataset import Dataset, Split, training_split
from jaxvision.input_pipeline.parallel import cpu_threads
from jaxvision.sharding import own_rows, shard_batch, shard_own_rows, to_host

QUIET_TRACKER = "ignore:resource_tracker"
DEVICE_BATCHES_AHEAD = 2  # transfers that overlap with the step


class Feed(NamedTuple):
    """A split on its way to the device.

    Attributes:
      split: what is fed.
      arrays: {name: [N, ...]}, or a Resident composite, on the devices; None when streaming.
      workers: decoding processes of the streaming path; 0 decodes in threads.
      mesh: the devices.
      axes: over which `arrays` are split: see `resident.find_split`.
      take: (arrays, rows [B]) -> batch, under jit.
      where: the data are, in words.
    """

    split: Split
    arrays: dict[str, jax.Array] | Resident | None
    workers: int
    mesh: Mesh
    axes: tuple[str, ...] = resident.WHOLE
    take: Callable[[Any, jax.Array], Any] | None = None
    where: str = ""


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
    return importlib.import_module(name).load(config)


def open_feed(dataset: Dataset, name: str, config: ConfigDict, mesh: Mesh) -> Feed:
    """Feeds split `name`: resident where `data.resident` says so, or (auto) where it all fits.

    Raises:
      UserError: data.resident is not auto, true or false.
    """
    return _open(dataset, dataset.splits[name], name, config, mesh)


def open_training_feed(dataset: Dataset, config: ConfigDict, mesh: Mesh) -> Feed:
    """Feeds what is trained on: `training_split`, as `open_feed` would."""
    name = "training" if dataset.training else "train"
    return _open(dataset, training_split(dataset), name, config, mesh)


def _open(dataset: Dataset, split: Split, name: str, config: ConfigDict, mesh: Mesh) -> Feed:
    axes, where = (
        resident.find_split(config, dataset, mesh),
        resident.describe(config, dataset, mesh),
    )
    if axes is None:
        return Feed(split, None, config.data.workers, mesh, where=where)
    arrays = resident.resident(split, f"{dataset.fingerprint}_{name}", mesh, axes)
    take = resident.make_take(mesh, axes)
    return Feed(split, arrays, config.data.workers, mesh, axes, take, where)


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
    parts = [to_host(feed.mesh, condense(batch)) for batch in eval_batches(feed, batch_size)]
    count = len(feed.split.names)
    arrays = {n: np.concatenate([p[n] for p in parts])[:count] for n in parts[0] if n != "valid"}
    return feed._replace(arrays=resident.place(arrays, feed.mesh, feed.axes, count))


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
    yield from _streamed(feed, row_of, batch_size, start, stop)


def eval_batches(feed: Feed, batch_size: int) -> Iterator[Any]:
    """Every row once, in order; the last batch is padded with rows whose 'valid' is 0.

    Yields:
      device batches with 'valid', float32 [B], beside the split's own arrays.
    """
    size = len(feed.split.names)
    batches = -(-size // batch_size)
    rows = np.arange(batches * batch_size).reshape(batches, batch_size)
    validity = (rows < size).astype(np.float32)
    rows = np.where(rows < size, rows, 0)
    if feed.arrays is not None:
        source = (_gather(feed, batch_rows) for batch_rows in rows)
    else:
        row_of = functools.partial(_row_or_first, size=size)
        source = _streamed(feed, row_of, batch_size, 0, batches)
    for batch, valid in zip(source, validity, strict=True):
        yield {**batch, "valid": shard_batch(feed.mesh, valid)}


def host_rows(feed: Feed, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """The given rows as host arrays: for figures."""
    examples = [feed.split.read(int(row)) for row in rows]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _row_or_first(position: int, size: int) -> int:
    return position if position < size else 0


_compiled = functools.cache(jax.jit)


def _gather(feed: Feed, rows: np.ndarray) -> Any:
    return _compiled(feed.take)(feed.arrays, shard_batch(feed.mesh, rows))


def _read_position(
    position: int, read: Callable, row_of: Callable, own: range, batch_size: int
) -> dict[str, np.ndarray]:
    """The example at a position among those of this process: its rows `own` of each batch."""
    batch, place = divmod(int(position), len(own))
    return read(row_of(batch * batch_size + own[place]))


def _without_interrupts(batches: Any) -> Iterator[Any]:
    """Iterates; decoding processes, which are started on the way, never hear of Ctrl-C.

    A terminal sends it to them as well: they would die before this process could save. What a
    thread blocks is blocked in the processes that it starts.
    """
    # It gives back the memory shared with processes that were stopped, and need not say so.
    if QUIET_TRACKER not in sys.warnoptions:
        sys.warnoptions.append(QUIET_TRACKER)
    resource_tracker.ensure_running()  # which unblocks the signal once it has started
    batches, end = iter(batches), object()
    while True:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            batch = next(batches, end)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if batch is end:
            return
        yield batch


def _streamed(
    feed: Feed, row_of: Callable[[int], int], batch_size: int, start: int, stop: int
) -> Iterator[Any]:
    """Decodes ahead with grain, and puts a few batches on the device ahead of their use."""
    import grain

    own = own_rows(feed.mesh, batch_size)
    read = functools.partial(
        _read_position, read=feed.split.read, row_of=row_of, own=own, batch_size=batch_size
    )
    # Batches, not examples, are what threads and processes work on: grain deals elements out to
    # its workers in turn, so only whole batches stay the same however many workers there are.
    batches = grain.MapDataset.range(start * len(own), stop * len(own)).map(read)
    batches = batches.batch(len(own))
    threads = 1 if feed.workers else cpu_threads()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = batches.to_iter_dataset(options)
    if feed.workers:
        workers = min(feed.workers, os.cpu_count() or 1, stop - start)
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        batches = batches.mp_prefetch(options)
    ahead = collections.deque()
    for batch in _without_interrupts(batches):
        ahead.append(shard_own_rows(feed.mesh, batch, batch_size))
        if len(ahead) > DEVICE_BATCHES_AHEAD:
            yield ahead.popleft()
    yield from ahead
