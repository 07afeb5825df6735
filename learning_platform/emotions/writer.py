"""One writer a process: readings that arrive while it writes go to disk together.

A commit that waits for the disk takes milliseconds, whether it holds one reading or two hundred.
Whoever sent a reading gets an answer once the transaction that holds it is on disk.
"""

import queue
import threading
import time
from concurrent.futures import Future

from django.db import connections
from django.utils import timezone

from learning_platform.emotions.visits import Answer, Reading, apply

MOST = 256  # readings in one transaction
GATHER_SECONDS = 0.02  # others have so long to join: a transaction of one costs as much as of ten
WAIT_SECONDS = 40  # longer than SQLite's own time-out

_waiting: "queue.SimpleQueue[tuple[Reading, Future] | None]" = queue.SimpleQueue()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def store(reading: Reading) -> Answer:
    """Blocks until the reading is on disk.

    Raises:
      whatever the database raised; TimeoutError where it did not answer. The reading may then be
      sent again: its number tells whether it is there already.
    """
    _start()
    future: Future = Future()
    _waiting.put((reading, future))
    return future.result(WAIT_SECONDS)


def stop() -> None:
    """Ends the writer after what waits; the next reading starts another."""
    global _thread
    with _lock:
        if _thread is not None:
            _waiting.put(None)
            _thread.join()
            _thread = None


def _start() -> None:
    global _thread
    if _thread is None:
        with _lock:
            if _thread is None:
                _thread = threading.Thread(target=_run, name="readings", daemon=True)
                _thread.start()


def _run() -> None:
    try:
        while batch := _next_batch():
            _write(batch)
    finally:
        connections.close_all()


def _next_batch() -> list[tuple[Reading, Future]]:
    """What waits now, at least one; empty when the writer is to stop."""
    batch = [_waiting.get()]
    if batch[0] is not None:
        time.sleep(GATHER_SECONDS)
    while batch[-1] is not None and len(batch) < MOST and not _waiting.empty():
        batch.append(_waiting.get())
    if batch[-1] is None:  # stop() asks: once with what came before, then with nothing
        batch.pop()
        if batch:
            _waiting.put(None)
    return batch


def _write(batch: list[tuple[Reading, Future]]) -> None:
    readings = [reading for reading, _ in batch]
    try:
        connections["default"].close_if_unusable_or_obsolete()
        answers = apply(readings, timezone.now())
    except Exception as error:  # noqa: BLE001 - it is raised in the thread of each who waits
        for _, future in batch:
            future.set_exception(error)
        return
    for (_, future), answer in zip(batch, answers, strict=True):
        future.set_result(answer)
