"""Long work on many items, in threads or not, with a progress line once it takes a while."""

import collections
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jaxvision import failures

QUIET_SECONDS = 2.0  # shorter work shows nothing
SCREEN_SECONDS = 0.5  # between updates of the line in a terminal
LOG_SECONDS = 30.0  # between lines where stderr is a file: every update stays there


def cpu_threads() -> int:
    """Threads for decoding: one a core this process may use; 16 at most, as each holds an image."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 16)


def threaded(
    function: Callable[[Any], Any], items: Sequence[Any], label: str, threads: int
) -> Iterator[Any]:
    """Yields function(item) in the order of `items`, run by `threads` threads.

    Only a few calls a thread are in flight, so 100,000 items cost no memory. An exception in a call
    is raised here; calls that have not started are then dropped.

    Args:
      label: starts the progress line, for example 'checking images'.
    """
    return counted(in_threads(function, items, threads), label, len(items))


def in_threads(
    function: Callable[[Any], Any], items: Iterable[Any], threads: int, ahead: int = 8
) -> Iterator[Any]:
    """Yields function(item) in the order of `items`, at most `ahead` calls a thread in flight."""
    pool = ThreadPoolExecutor(threads)
    waiting = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_thread(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """What function(*arguments) gives or raises, once it does.

    The program's end does not wait; it is to be `failures.end`.
    """
    future = Future()

    def run():
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=failures.CUT_OFF, daemon=True).start()
    return future


def in_background(items: Iterable[Any], ahead: int) -> Iterator[Any]:
    """Yields `items`, which one thread makes, `ahead` of them before they are asked for."""
    iterator, end = iter(items), object()
    pool = ThreadPoolExecutor(1)
    waiting = collections.deque(pool.submit(next, iterator, end) for _ in range(ahead))
    try:
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, iterator, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        if hasattr(iterator, "close"):  # a generator, which then closes what it has opened
            iterator.close()


def counted(results: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    """Yields `results`, of which there are `total`, with the progress line."""
    line = _Line(label, total)
    try:
        for result in results:
            yield result
            line.step()
    finally:
        line.close()


class _Line:
    """'checking images 1200/45000  850 images/s  left 0m51s' on stderr."""

    def __init__(self, label: str, total: int):
        self.label, self.total, self.done = label, total, 0
        self.start = time.monotonic()
        self.next = self.start + QUIET_SECONDS
        self.screen = sys.stderr.isatty()
        self.shown = False

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (SCREEN_SECONDS if self.screen else LOG_SECONDS)
        rate = self.done / max(now - self.start, 1e-9)
        left = round((self.total - self.done) / rate)
        unit, digits = self.label.split()[-1], 0 if rate >= 10 else 1
        text = f"{self.label} {self.done}/{self.total}  {rate:.{digits}f} {unit}/s"
        text = f"{text}  left {left // 60}m{left % 60:02d}s"
        # Spaces wipe the end of a longer line before.
        sys.stderr.write(f"\r{text:<78}" if self.screen else f"{text}\n")
        sys.stderr.flush()
        self.shown = True

    def close(self) -> None:
        if self.shown and self.screen:
            sys.stderr.write("\n")
