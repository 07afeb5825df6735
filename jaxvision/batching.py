"""Many small predictions in few calls: inputs of several pictures share a batch on the device.

Batches are padded to a few sizes (`bucket`), so that few programs are compiled; one batch is made
ready while the device works on another. Needs numpy alone.
"""

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

IN_FLIGHT = 2  # batches on their way: one is cut while the device works on the other
WAITING = 4  # pictures that may wait for a batch to fill up, for each of its rows


def bucket(count: int, batch_size: int, devices: int = 1) -> int:
    """The padded size of a batch of `count` rows: devices * 2**k, at most that of `batch_size`."""
    size = devices
    while size < min(count, batch_size):
        size *= 2
    return size


def pad_rows(rows: np.ndarray, size: int) -> np.ndarray:
    """[n, ...] -> [size, ...], filled up with zeros."""
    if len(rows) == size:
        return rows
    padded = np.zeros((size, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return padded


class _Waiting(NamedTuple):
    """A picture whose outputs are not all there yet; `outputs` has one entry a row."""

    key: Any
    rows: int
    outputs: list


def apply_in_batches(
    predict: Callable[[np.ndarray], dict[str, Any]],
    pictures: Iterable[tuple[Any, np.ndarray]],
    batch_size: int,
    devices: int = 1,
    whole: bool = False,
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Yields (key, outputs {name: [N, ...]}) for each (key, inputs [N, ...]), in their order.

    Rows of one shape share a batch, whichever picture they are of. Batches are predicted before
    they are full where too many pictures would have to wait for that, so memory stays bounded.

    Args:
      predict: uint8 [bucket, ...] -> {name: [bucket, ...]}; may return before the result is there.
      pictures: read a few ahead.
      batch_size: rows in a batch; rounded up to a bucket.
      devices: that share a batch; every bucket divides among them.
      whole: pads every batch to the full size. A program of another size may round differently: so
        a picture gets the same numbers to the last bit, however many others there are.
    """
    full = bucket(batch_size, batch_size, devices)
    waiting, running = collections.deque(), collections.deque()
    batches = {}  # {shape: [(picture, row)]}: those that are not full yet

    def start(shape):
        batch = batches.pop(shape)
        rows = np.stack([row for _, row in batch])
        size = full if whole else bucket(len(rows), full, devices)
        outputs = predict(pad_rows(rows, size))
        running.append((outputs, [picture for picture, _ in batch]))
        if len(running) == IN_FLIGHT:
            fetch()

    def fetch():
        outputs, owners = running.popleft()
        # Whole arrays first: a slice on the device would be another program for each length.
        outputs = {name: np.asarray(array) for name, array in outputs.items()}
        for i, picture in enumerate(owners):
            picture.outputs.append({name: array[i] for name, array in outputs.items()})

    def finish():
        for shape in list(batches):
            start(shape)
        while running:
            fetch()

    for key, inputs in pictures:
        picture = _Waiting(key, len(inputs), [])
        waiting.append(picture)
        for row in inputs:
            batch = batches.setdefault(row.shape, [])
            batch.append((picture, row))
            if len(batch) == full:
                start(row.shape)
        if len(waiting) > WAITING * full:
            finish()
        yield from _complete(waiting)
    finish()
    yield from _complete(waiting)


def _complete(waiting: collections.deque) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    while waiting and len(waiting[0].outputs) == waiting[0].rows:
        key, rows, outputs = waiting.popleft()
        names = outputs[0] if rows else ()
        yield key, {name: np.stack([row[name] for row in outputs]) for name in names}
