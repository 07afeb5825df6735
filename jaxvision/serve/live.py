"""Cameras: frames come in over a WebSocket, records go out, and no frame waits behind another."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from jaxvision.errors import UserError
from jaxvision.serve import answers, pictures
from jaxvision.serve.limits import Share, busy
from jaxvision.serve.refused import Refused
from jaxvision.serve.service import Model, Service

log = logging.getLogger("jaxvision.serve")
PROTOCOL = "jaxvision"  # a browser can send its token only as another one of these
TOKEN = "token."


class Frame(NamedTuple):
    """A frame: its number in this connection, from 0; its bytes; when it came, seconds."""

    number: int
    data: bytes
    time: float


class Live:
    """The application behind /live."""

    def __init__(self, service: Service):
        self.service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        socket, service = WebSocket(scope, receive, send), self.service
        try:
            model = _check(service, socket)
            smooth = _smoother(model, socket)
        except Refused as refused:
            body = answers.to_json({"error": refused.text})
            response = Response(body, refused.status, media_type=answers.JSON)
            await socket.send_denial_response(response)
            return
        await socket.accept(PROTOCOL if PROTOCOL in scope["subprotocols"] else None)
        service.cameras += 1
        try:
            await _Camera(service, model, socket, smooth).run()
        finally:
            service.cameras -= 1


def _check(service: Service, socket: WebSocket) -> Model:
    """The model that is asked for.

    Raises:
      Refused: no such model, no token, another site's page, not ready, too many cameras.
    """
    name = socket.path_params.get("model")
    model = service.models.get(name) if name else service.first
    if model is None:
        raise Refused(404, f"there is no model {name[:60]!r}")
    offered = [p.removeprefix(TOKEN) for p in socket.scope["subprotocols"] if p.startswith(TOKEN)]
    header = socket.headers.get("authorization", "").removeprefix("Bearer ").strip()
    given = offered[0] if offered else header
    if service.token and not secrets.compare_digest(given.encode(), service.token.encode()):
        raise Refused(401, f"this server wants its token, as the subprotocol {TOKEN}<token>")
    origin = socket.headers.get("origin")
    if origin and urlsplit(origin).netloc != socket.headers.get("host"):
        raise Refused(403, f"a page of {origin[:80]} may not use the camera's connection")
    if not model.ready:
        raise busy("the model is getting ready")
    if service.cameras >= service.limits.cameras:
        raise busy(f"{service.cameras} cameras are connected, which is the most")
    return model


def _smoother(model: Model, socket: WebSocket) -> Callable | None:
    """What smooths predictions over time, as the query asks: ?smoothing=one_euro&strength=1.

    Raises:
      Refused: the model knows no such smoothing.
    """
    method = socket.query_params.get("smoothing", "")
    if not method:
        return None
    known = model.engine.predictor.smoothers
    if method not in known:
        may = f"use {', '.join(known)}, or leave it out" if known else "leave it out"
        raise Refused(400, f"smoothing={method[:40]!r} is none of this model's: {may}")
    try:
        return known[method](float(socket.query_params.get("strength", "1")))
    except UserError as error:
        raise Refused(400, str(error)) from None
    except ValueError:
        raise Refused(400, "strength must be a number, such as 1") from None


class _Camera:
    """One connection: a task reads frames, this one predicts the newest."""

    def __init__(self, service: Service, model: Model, socket: WebSocket, smooth: Callable | None):
        self.service, self.model, self.socket, self.smooth = service, model, socket, smooth
        self.arrays = socket.query_params.get("with") == "arrays"
        self.waiting: Frame | None = None
        self.came, self.last = asyncio.Event(), 0.0

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        predictor = asyncio.create_task(self._answer())
        _, left = await asyncio.wait((reader, predictor), return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        # One of the two saw the client leave; whatever else ended it belongs into the log.
        for result in await asyncio.gather(reader, predictor, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                log.error("a camera's connection ended", exc_info=result)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # closed already
            await self.socket.close()

    async def _read(self) -> None:
        number = 0
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                await self._send({"frame": None, "error": "frames are binary: JPEG, PNG or WebP"})
                continue
            if self.waiting is not None:
                await self._send({"frame": self.waiting.number, "skipped": True}, "skipped")
            self.waiting = Frame(number, data, time.monotonic())
            self.came.set()
            number += 1

    async def _answer(self) -> None:
        while True:
            await self.came.wait()
            self.came.clear()
            frame, self.waiting = self.waiting, None
            if frame is None:
                continue
            record, kind = await self._record(frame)
            await self._send({"frame": frame.number, **record}, kind)

    async def _record(self, frame: Frame) -> tuple[dict[str, Any], str]:
        try:
            async with asyncio.timeout(self.service.limits.deadline):
                return await self._predict(frame), "predicted"
        except TimeoutError:
            refused = busy("no answer in time")
        except Refused as error:
            refused = error
        except Exception:
            code = secrets.token_hex(6)
            log.exception("a frame for %s failed, id %s", self.model.name, code)
            self.service.metrics.errors.labels(self.model.name).inc()
            told = "the prediction failed; the server's log says why under this id"
            return {"error": told, "id": code, "status": 500}, "failed"
        return {"error": refused.text, "status": refused.status}, "refused"

    async def _predict(self, frame: Frame) -> dict[str, Any]:
        service, limit = self.service, self.service.limits.pixels
        with Share() as share:
            share.take(service.places, 1)
            share.take(service.pixels, pictures.pixels_of(frame.data, limit))
            options = limit, self.model.value_range, self.model.engine.predictor.least_side
            picture = await service.in_thread(pictures.decode, frame.data, *options)
            prediction = await service.predict(self.model, picture)
            if self.smooth:
                seconds = frame.time - self.last if self.last else 0.0
                prediction = self.smooth(prediction, max(seconds, 1e-3))
            self.last = frame.time
            predictor = self.model.engine.predictor
            return await service.in_thread(answers.record_of, predictor, prediction, self.arrays)

    async def _send(self, record: dict[str, Any], kind: str = "refused") -> None:
        self.service.metrics.frames.labels(self.model.name, kind).inc()
        await self.socket.send_text(answers.to_json(record).decode())
