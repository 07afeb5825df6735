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
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvision import hosts
from jaxvision.errors import UserError
from jaxvision.input_pipeline import pixels, resident
from jaxvision.input_pipeline.composite import Composite, Resident
from jaxvision.input_pipeline.dataset import Dataset, Split, training_split
from jaxvision.input_pipeline.filling import Filling
from jaxvision.input_pipeline.streaming import host_batches
from jaxvision.sharding import own_rows, replicated, shard_batch, shard_own_rows, to_host

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
    reader = importlib.import_module(name)
    if not hasattr(reader, "load"):
        raise UserError(f"data.reader={config.data.reader!r} is no reader: it has no load(config)")
    return reader.load(config)


def open_feed(dataset: Dataset, name: str, config: ConfigDict, mesh: Mesh) -> Feed:
    """Feeds split `name`: resident where `data.resident` says so, or (auto) where it all fits."""
    return _open(dataset, dataset.splits[name], name, config, mesh)


def open_training_feed(
    dataset: Dataset, config: ConfigDict, mesh: Mesh, filling: Filling | None = None
) -> Feed:
    """Feeds what is trained on: `training_split`, as `open_feed` would.

    Of an `outlined` feed, `filling` is filled on the way.
    """
    name = "training" if dataset.training else "train"
    return _open(dataset, training_split(dataset), name, config, mesh, filling)


def outlined(dataset: Dataset, config: ConfigDict, mesh: Mesh) -> Feed | None:
    """What `open_training_feed` will give, with shapes for arrays; no more than a row is decoded.

    None where it streams, is split over devices or processes, or has rows that are made of others.
    """
    split = training_split(dataset)
    axes = resident.find_split(config, dataset, mesh)
    if axes != resident.WHOLE or isinstance(split.read, Composite) or hosts.count() > 1:
        return None
    shapes = {
        name: jax.ShapeDtypeStruct(
            (len(split.names), *array.shape), array.dtype, sharding=replicated(mesh)
        )
        for name, array in split.read(0).items()
    }
    where = resident.describe(config, dataset, mesh)
    take = resident.make_take(mesh, axes)
    return Feed(split, shapes, config.data.workers, mesh, axes, take, where)


def first_asked(seed: int, batch_size: int, start: int, split: Split) -> list[int]:
    """Every row of a split once, in the order in which training after step `start` asks for it."""
    size = len(split.names)
    batches = -(-size // batch_size)
    asked = train_rows(start, batches, batch_size, seed, size, split.weights).ravel()
    asked = np.concatenate([asked, np.arange(size)])  # some rows come again before others do
    return asked[np.sort(np.unique(asked, return_index=True)[1])].tolist()


def _open(
    dataset: Dataset,
    split: Split,
    name: str,
    config: ConfigDict,
    mesh: Mesh,
    filling: Filling | None = None,
) -> Feed:
    axes = resident.find_split(config, dataset, mesh)
    where = resident.describe(config, dataset, mesh)
    if axes is None:
        return Feed(split, None, config.data.workers, mesh, where=where)
    arrays = resident.resident(split, f"{dataset.fingerprint}_{name}", mesh, axes, filling)
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
    with contextlib.closing(
        _host_batches(feed, row_of, batch_size, range(start, stop), endless=False)
    ) as batches:
        yield from _put_ahead(feed.mesh, batches, batch_size)


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
        self.feed, self.batch_size = feed, batch_size
        size = len(feed.split.names)
        batches = -(-size // batch_size)
        rows = np.arange(batches * batch_size).reshape(batches, batch_size)
        self.valid = (rows < size).astype(np.float32)
        self.rows = np.where(rows < size, rows, 0)
        if feed.arrays is None:
            row_of = functools.partial(_row_or_first, size=size)
            self.host = _host_batches(feed, row_of, batch_size, range(batches), endless)

    def __iter__(self) -> Iterator[Any]:
        """Device batches with 'valid', float32 [B], beside the split's own arrays."""
        feed = self.feed
        if feed.arrays is not None:
            source = (_gather(feed, batch_rows) for batch_rows in self.rows)
        else:
            source = _put_ahead(
                feed.mesh, itertools.islice(self.host, len(self.rows)), self.batch_size
            )
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


_compiled = functools.cache(jax.jit)


def _gather(feed: Feed, rows: np.ndarray) -> Any:
    return _compiled(feed.take)(feed.arrays, shard_batch(feed.mesh, rows))


def _host_batches(
    feed: Feed, row_of: Callable[[int], int], batch_size: int, steps: range, endless: bool
) -> Iterator[dict[str, np.ndarray]]:
    """This process' rows of batches, decoded ahead; see `host_batches`."""
    own = own_rows(feed.mesh, batch_size)
    return host_batches(feed.split.read, row_of, batch_size, own, steps, feed.workers, endless)


def _put_ahead(mesh: Mesh, batches: Iterator[Any], batch_size: int) -> Iterator[Any]:
    """Puts a few batches on the devices ahead of their use."""
    ahead = collections.deque()
    for batch in batches:
        ahead.append(shard_own_rows(mesh, batch, batch_size))
        if len(ahead) > DEVICE_BATCHES_AHEAD:
            yield ahead.popleft()
    yield from ahead
