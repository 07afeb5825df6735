"""Batches decoded ahead of their use by grain, in threads or in processes."""

import contextlib
import functools
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from jaxvision.input_pipeline.parallel import cpu_threads

QUIET_TRACKER = "ignore:resource_tracker"


def host_batches(
    read: Callable,
    row_of: Callable,
    batch_size: int,
    own: range,
    steps: range,
    workers: int,
    endless: bool,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of rows `row_of(step * batch_size)` and on; closed, it ends threads and processes.

    Args:
      read: row -> {name: array}.
      row_of: position -> row.
      batch_size: rows a batch, of all processes.
      own: places in a batch that are this process'; the others are not decoded here.
      steps: consecutive.
      workers: decoding processes; 0 decodes in threads.
      endless: begins again after the last step, with the same processes.
    """
    import grain

    read = functools.partial(
        _read_position, read=read, row_of=row_of, own=own, batch_size=batch_size
    )
    # Batches, not examples, are what threads and processes work on: grain deals elements out to
    # its workers in turn, so only whole batches stay the same however many workers there are.
    batches = grain.MapDataset.range(steps.start * len(own), steps.stop * len(own)).map(read)
    batches = batches.batch(len(own))
    if endless:
        batches = batches.repeat(reseed_each_epoch=False)
    threads = 1 if workers else cpu_threads()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = batches.to_iter_dataset(options)
    if workers:
        workers = min(workers, os.cpu_count() or 1, len(steps))
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        batches = batches.mp_prefetch(options, worker_init_fn=_end_with_parent)
    with contextlib.closing(iter(batches)) as batches:
        yield from _without_interrupts(batches)


def _end_with_parent(index: int, count: int) -> None:
    """In a decoding process: ends it where the one that started it was killed."""

    def wait():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _read_position(
    position: int, read: Callable, row_of: Callable, own: range, batch_size: int
) -> dict[str, np.ndarray]:
    """The example at a position among those of this process: its rows `own` of each batch."""
    batch, place = divmod(int(position), len(own))
    return read(row_of(batch * batch_size + own[place]))


def _without_interrupts(batches: Iterator[Any]) -> Iterator[Any]:
    """Iterates; decoding processes, which are started on the way, never hear of Ctrl-C.

    A terminal sends it to them as well: they would die before this process could save. What a
    thread blocks is blocked in the processes that it starts.
    """
    # It gives back the memory shared with processes that were stopped, and need not say so.
    if QUIET_TRACKER not in sys.warnoptions:
        sys.warnoptions.append(QUIET_TRACKER)
    resource_tracker.ensure_running()  # which unblocks the signal once it has started
    end = object()
    while True:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            batch = next(batches, end)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if batch is end:
            return
        yield batch
