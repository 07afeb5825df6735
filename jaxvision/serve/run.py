"""Runs the server: models get ready while it already says that it is alive."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from ml_collections import ConfigDict

from jaxvision.config.check import check
from jaxvision.console import say
from jaxvision.engine import read_config
from jaxvision.errors import UserError
from jaxvision.serve import models
from jaxvision.serve.app import make_app
from jaxvision.serve.limits import Limits
from jaxvision.serve.options import Options
from jaxvision.serve.protocol import protocol_for
from jaxvision.serve.service import Model, Service, make_ready

log = logging.getLogger("jaxvision.serve")
FINISH_SECONDS = 5.0  # beyond the deadline, for what was accepted when the server is told to stop
SWITCH_SECONDS = 0.001  # Python's default, .005, keeps a finished batch waiting for the lock


def run_server(
    config: ConfigDict, folders: list[str], options: Options, token: str, listening: socket.socket
) -> None:
    """Opens the models and serves them at a bound socket, until a signal.

    Raises:
      UserError: a folder that cannot be served, two of one name.
    """
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, force=True)  # absl has set its own
    for noisy in ("absl", "jax", "orbax", "python_multipart"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    start = time.perf_counter()
    served = open_models(config, folders, options.engine)
    limits = Limits(places=options.queue, deadline=options.deadline)
    service = Service(served, limits, token)
    sys.setswitchinterval(SWITCH_SECONDS)

    def background() -> list:
        jobs = [_get_ready(service, start, failed)]
        if options.reload:
            jobs += [_watch(service, model, options.reload) for model in served]
        return jobs

    server, failures = None, []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    host, port = listening.getsockname()[:2]
    say(f"serving {', '.join(m.name for m in served)} at http://{host}:{port}/")
    app = make_app(service, background)
    server = _Server(server_config(app, limits))
    server.run(sockets=[listening])
    if failures:
        raise failures[0]


def server_config(app: Any, limits: Limits) -> uvicorn.Config:
    """uvicorn's settings."""
    return uvicorn.Config(
        app,
        loop="auto",  # uvloop
        http=protocol_for(limits),
        ws="websockets-sansio",
        ws_max_size=limits.frame,
        ws_per_message_deflate=False,  # pictures are compressed already
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(limits.deadline + FINISH_SECONDS),
    )


class _Server(uvicorn.Server):
    """Ends with exit code 0 after a signal: what was accepted has been answered."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def open_models(config: ConfigDict, folders: list[str], kind: str = "auto") -> list[Model]:
    """The models of some folders, not ready yet; `kind` as of `engine.open_engine`.

    Raises:
      UserError: nothing to serve in one, two of one name.
    """
    configs = {}
    for folder in folders:
        name = models.name_of(folder)
        if name in configs:
            raise UserError(f"--workdir names two folders {name!r}: rename one")
        configs[name] = read_config(folder) if configs else config
        check(configs[name])
    return [
        Model(name, own, folder, models.open_engine(own, folder, kind))
        for folder, (name, own) in zip(folders, configs.items(), strict=True)
    ]


async def _get_ready(service: Service, start: float, failed: Callable) -> None:
    """Compiles every model's programs; without them there is nothing to serve."""
    for model in service.models.values():
        try:
            model.use(
                model.engine, await asyncio.to_thread(make_ready, model.engine, model.batch_size)
            )
        except Exception as error:
            failed(error)
            return
        model.ready = True
        step, passed = model.engine.step, time.perf_counter() - start
        log.info("%s, step %d, is ready after %.1f s", model.name, step, passed)
    gc.collect()
    gc.freeze()  # what is there now stays; looking through it again and again would be felt


async def _watch(service: Service, model: Model, every: float) -> None:
    """Has a better checkpoint take the model's place, once its programs are compiled."""
    while True:
        await asyncio.sleep(every)
        if not model.ready:
            continue
        try:
            best = await asyncio.to_thread(models.newest_best, model.config, model.folder)
            if best in (None, model.engine.step):
                continue
            engine = await asyncio.to_thread(models.open_engine, model.config, model.folder)
            model.use(engine, await asyncio.to_thread(make_ready, engine, model.batch_size))
            log.info("%s: step %d took the place of the one before", model.name, engine.step)
        except Exception:  # a checkpoint may go while it is read; the model stays as it is
            log.exception("%s: no better checkpoint could be loaded; trying again", model.name)
