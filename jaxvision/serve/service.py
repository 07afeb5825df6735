"""The models that one server has, and what becomes of a picture."""

import asyncio
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.serve import models
from jaxvision.serve.batches import Batches
from jaxvision.serve.limits import Budget, Limits
from jaxvision.serve.metrics import Metrics
from jaxvision.serve.refused import Refused
from jaxvision.task import Prediction

# A picture of at most this side is worked on at once; handing it to a thread would take longer.
# No face is looked for in a square of it.
SMALL_SIDE = 256
SMALL_BYTES = 2**16


class Model:
    """A model under a name.

    Attributes:
      engine: the one that answers now.
      largest: {shape of an input: rows that a batch may have}.
      loaded: when, seconds since 1970.
      batch_size: config.predict.batch_size.
      value_range: config.data.range, of files with more than 8 bits.
      ready: whether its programs are compiled.
    """

    def __init__(self, name: str, config: ConfigDict | None, folder: str, engine: Any):
        self.name, self.config, self.folder = name, config, folder
        self.ready, self.loaded, self.batches = False, time.time(), None
        self.value_range = tuple(config.data.range) if config else ()
        self.batch_size = config.predict.batch_size if config else models.MOST_ROWS
        self.use(engine, {})

    def use(self, engine: Any, largest: dict[tuple[int, ...], int]) -> None:
        """From now on `engine` answers; what is in work goes on with the one it began with."""
        self.engine, self.largest, self.loaded = engine, largest, time.time()


class Service:
    """What the routes share."""

    def __init__(self, served: list[Model], limits: Limits, token: str = ""):
        self.models = {model.name: model for model in served}
        self.first, self.limits, self.token = served[0], limits, token
        self.metrics, self.cameras = Metrics(), 0
        self.bodies = Budget(limits.bodies, "memory for bodies")
        self.pixels = Budget(limits.all_pixels, "memory for pictures")
        self.places = Budget(limits.places, "place in the queue")
        self.threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "pictures")
        self._tasks: list[asyncio.Task] = []
        for model in served:
            model.batches = Batches(functools.partial(self._observe, model), limits.deadline)
            self.metrics.ready.labels(model.name).set_function(lambda m=model: m.ready)
            self.metrics.step.labels(model.name).set_function(lambda m=model: m.engine.step)
            rows = functools.partial(lambda m: m.batches.rows, model)
            self.metrics.queue.labels(model.name).set_function(rows)
        self.metrics.places.set_function(lambda: limits.places - self.places.left)
        self.metrics.cameras.set_function(lambda: self.cameras)

    def _observe(self, model: Model, rows: int, seconds: float) -> None:
        self.metrics.batch_rows.labels(model.name).observe(rows)
        self.metrics.batch_seconds.labels(model.name).observe(seconds)

    @property
    def ready(self) -> bool:
        return all(model.ready for model in self.models.values())

    async def start(self, background: list) -> None:
        """Begins to predict batches, and runs the coroutines of `background` beside."""
        runs = [model.batches.run() for model in self.models.values()]
        self._tasks = [asyncio.create_task(coroutine) for coroutine in (*runs, *background)]

    async def stop(self) -> None:
        """Ends what `start` began."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, function: Callable, *arguments: Any) -> Any:
        """The function's result, from a thread of those that work on pictures."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, function, *arguments)

    async def predict(self, model: Model, picture: np.ndarray) -> Prediction:
        """The answer for a picture, uint8 [H, W, 3].

        Raises:
          Refused: the model cannot make anything of it (422), or has no time (503).
        """
        engine, largest = model.engine, model.largest
        if not model.ready:
            raise Refused(503, "the model is getting ready; try again later", 5)
        predictor = engine.predictor
        small = max(picture.shape[:2]) <= SMALL_SIDE
        try:
            if small:
                prepared = predictor.prepare(picture)
            else:
                prepared = await self.in_thread(predictor.prepare, picture)
            most = largest.get(prepared.inputs.shape[1:], engine.devices)
            outputs = await model.batches.outputs(engine, prepared.inputs, most)
            if small:
                return predictor.decode(outputs, prepared.context, engine.fitted)
            return await self.in_thread(predictor.decode, outputs, prepared.context, engine.fitted)
        except UserError as error:
            raise Refused(422, str(error)) from None


def make_ready(engine: Any, batch_size: int) -> dict[tuple[int, ...], int]:
    """Compiles the programs of an engine; returns {shape: rows that a batch may have}.

    Args:
      batch_size: that none exceeds.
    """
    largest = {}
    todo = []
    for shape in models.input_shapes(engine):
        sizes = models.buckets(engine, shape, batch_size)
        largest[shape] = sizes[-1]
        todo += [(size, *shape) for size in sizes]
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as threads:
        list(threads.map(functools.partial(_run_empty, engine), todo))
    return largest


def _run_empty(engine: Any, shape: tuple[int, ...]) -> None:
    for array in engine.predict(np.zeros(shape, np.uint8)).values():
        np.asarray(array)
