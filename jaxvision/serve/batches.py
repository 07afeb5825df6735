"""Requests that arrive while the model is busy go together."""

import asyncio
import collections
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxvision import batching
from jaxvision.serve.limits import busy
from jaxvision.serve.models import padded_size

SMOOTHING = 0.1  # weight of the newest batch in the mean time of a row


class _Job:
    """Inputs of one picture that wait for their outputs."""

    __slots__ = ("engine", "inputs", "largest", "sent", "blocks", "future")

    def __init__(self, engine: Any, inputs: np.ndarray, largest: int, future: asyncio.Future):
        self.engine, self.inputs, self.largest, self.future = engine, inputs, largest, future
        self.sent, self.blocks = 0, []

    @property
    def left(self) -> int:
        return len(self.inputs) - self.sent


class Batches:
    """The queue of one model, and the thread that its batches run in.

    A batch takes what waits: first come, first served, and rows of a picture of many tiles share
    it with those that came after. So a large picture delays small ones by a batch, not by all of
    its own.

    Attributes:
      rows: that wait.
      seconds_a_row: of the last batches; 0 before the first.
    """

    def __init__(self, observe: Callable[[int, float], None], patience: float):
        """observe: told (rows, seconds) of each batch; patience: seconds that a row may wait."""
        self.rows, self.seconds_a_row = 0, 0.0
        self._observe, self._patience = observe, patience
        self._waiting: collections.deque[_Job] = collections.deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "batches")

    async def outputs(self, engine: Any, inputs: np.ndarray, largest: int) -> dict[str, np.ndarray]:
        """What the model makes of a picture's inputs, {name: [N, ...]}; {} where N is 0.

        Args:
          engine: whose `predict` is used, also where another has taken its place meanwhile.
          inputs: uint8 [N, ...].
          largest: rows that a batch may have.

        Raises:
          Refused: what waits would take longer than the deadline (503).
        """
        if not len(inputs):
            return {}
        wait = self.rows * self.seconds_a_row
        if wait > self._patience:
            raise busy(f"the server is busy: {self.rows} inputs wait", wait)
        job = _Job(engine, inputs, largest, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self.rows += job.left
        self._wake.set()
        return await job.future

    async def run(self) -> None:
        """Predicts batches, one after the other, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                parts = self._take()
                if not parts:
                    continue
                start = loop.time()
                try:
                    outputs = await loop.run_in_executor(self._thread, _predict, parts)
                except Exception as error:
                    self._fail(parts, error)
                else:
                    _hand_out(parts, outputs)
                count = sum(len(rows) for _, rows in parts)
                self._count(count, loop.time() - start)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> list[tuple[_Job, np.ndarray]]:
        """Rows for the next batch, of one engine and one shape: [(job, its rows)]."""
        jobs, kept = [], collections.deque()
        while self._waiting:
            job = self._waiting.popleft()
            if job.future.done():  # nobody waits for it any more
                self.rows -= job.left
                continue
            fits = not jobs or (
                job.engine is jobs[0].engine and job.inputs.shape[1:] == jobs[0].inputs.shape[1:]
            )
            if fits and len(jobs) < (jobs[0].largest if jobs else 1):
                jobs.append(job)
            else:
                kept.append(job)
                if len(kept) > len(jobs) + batching.WAITING:
                    break
        kept.extend(self._waiting)
        parts, room = [], jobs[0].largest if jobs else 0
        for i, job in enumerate(sorted(jobs, key=lambda job: job.left)):
            count = min(job.left, max(1, room // (len(jobs) - i)))
            parts.append((job, job.inputs[job.sent : job.sent + count]))
            job.sent += count
            room -= count
            self.rows -= count
        kept.extend(job for job in jobs if job.left)  # behind those that came meanwhile
        self._waiting = kept
        return parts

    def _fail(self, parts: list, error: Exception) -> None:
        for job, _ in parts:
            if not job.future.done():
                job.future.set_exception(error)

    def _count(self, rows: int, seconds: float) -> None:
        share = SMOOTHING if self.seconds_a_row else 1.0
        self.seconds_a_row += share * (seconds / rows - self.seconds_a_row)
        self._observe(rows, seconds)


def _predict(parts: list[tuple[_Job, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of all rows of a batch; runs in the thread."""
    engine, largest = parts[0][0].engine, parts[0][0].largest
    rows = parts[0][1] if len(parts) == 1 else np.concatenate([rows for _, rows in parts])
    padded = batching.pad_rows(rows, padded_size(len(rows), largest, engine.devices))
    return {name: np.asarray(array) for name, array in engine.predict(padded).items()}


def _hand_out(parts: list[tuple[_Job, np.ndarray]], outputs: dict[str, np.ndarray]) -> None:
    start = 0
    for job, rows in parts:
        end = start + len(rows)
        job.blocks.append({name: array[start:end] for name, array in outputs.items()})
        start = end
        if not job.left and not job.future.done():
            job.future.set_result(_join(job.blocks))


def _join(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
