"""The routes."""

import asyncio
import contextlib
import functools
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.routing import Route, WebSocketRoute

from jaxvision.serve import answers, live, openapi, page, pictures
from jaxvision.serve.answers import Answer
from jaxvision.serve.limits import Share, busy, drain, read_body
from jaxvision.serve.refused import Gone, Refused
from jaxvision.serve.service import SMALL_BYTES, Model, Service

log = logging.getLogger("jaxvision.serve")
DRAIN_SECONDS = 2.0  # for what a refused client still sends
PLAIN_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
WATCH_SECONDS = 0.05  # after which it is looked whether a client is still there
OPEN = ("/healthz", "/readyz")  # for those that keep watch, without a token


def make_app(service: Service, background: Callable[[], list] = list) -> Any:
    """The ASGI application.

    Args:
      service: models and limits.
      background: makes the coroutines that run beside.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app):
        await service.start(background())
        yield
        await service.stop()

    posts = {"/inference": _inference, "/predict": _predict}
    gets = {"/healthz": _healthz, "/readyz": _readyz, "/metrics": _metrics, "/models": _models,
            "/models/{model}": _model, "/openapi.json": _openapi}  # fmt: skip
    routes = []
    for prefix in ("", "/models/{model}"):
        for path, endpoint in posts.items():
            routes.append(Route(prefix + path, _Endpoint(service, endpoint), methods=["POST"]))
        routes.append(WebSocketRoute(f"{prefix}/live", live.Live(service)))
        for path in page.FILES:
            routes.append(Route(prefix + path, _Endpoint(service, page.send), methods=["GET"]))
    for path, endpoint in gets.items():
        routes.append(Route(path, _Endpoint(service, endpoint), methods=["GET"]))
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _lost, 405: _lost})
    app.router.redirect_slashes = False
    return app


class Request:
    """What an endpoint needs of a request.

    Attributes:
      model: that the address names.
      headers, query: as Starlette has them.
      receive: of ASGI.
      path: of the address.
      unread: whether the client may still be sending its body.
      share: what it has taken of the service's budgets.
    """

    def __init__(self, scope: dict, receive: Any, model: Model | None):
        self.headers, self.query = Headers(scope=scope), QueryParams(scope["query_string"])
        self.receive, self.model, self.path = receive, model, scope["path"]
        self.unread, self.share = scope["method"] == "POST", Share()


class _Endpoint:
    """Runs an endpoint within the limits, and turns whatever happens into an answer."""

    def __init__(self, service: Service, endpoint: Callable):
        self.service, self.endpoint = service, endpoint
        self.name = endpoint.__name__.strip("_")

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        service, start = self.service, time.perf_counter()
        name = scope["path_params"].get("model")
        model = service.models.get(name) if name else service.first
        label, headers = (model or service.first).name, {}
        request = Request(scope, receive, model)
        try:
            check_token(service.token, scope["path"], request.headers)
            if model is None:
                known = ", ".join(service.models)
                raise Refused(404, f"there is no model {name[:60]!r}: this server has {known}")
            with request.share:
                answer = await self.endpoint(service, request)
        except Gone:
            service.metrics.count(label, self.name, 499, time.perf_counter() - start)
            return
        except Refused as refused:
            answer = _error(refused.status, refused.text)
            if refused.retry_after:
                headers["retry-after"] = str(refused.retry_after)
            if refused.status == 401:
                headers["www-authenticate"] = "Bearer"
        except Exception:
            code = secrets.token_hex(6)
            log.exception("%s of %s failed, id %s", self.name, label, code)
            service.metrics.errors.labels(label).inc()
            told = "the prediction failed; the server's log says why under this id"
            answer = Answer(answers.to_json({"error": told, "id": code}), status=500)
        service.metrics.count(label, self.name, answer.status, time.perf_counter() - start)
        if request.unread and answer.status != 503:
            headers["connection"] = "close"  # there may be no end to what this client sends
        await _send(scope, send, answer, headers, receive if request.unread else None, service)


async def _send(scope, send, answer: Answer, extra: dict, receive, service: Service) -> None:
    """Sends an answer; where `receive` is given, the client may still be sending."""
    fixed = page.HEADERS if answer.type.startswith("text/") else PLAIN_HEADERS
    headers = {**fixed, "content-type": answer.type, **extra}
    headers["content-length"] = str(len(answer.body))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    body = b"" if scope["method"] == "HEAD" else answer.body
    if receive is None:
        await send({"type": "http.response.body", "body": body})
        return
    # A connection that is closed on a client that still sends loses the answer.
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await drain(receive, service.limits.body, DRAIN_SECONDS)
    await send({"type": "http.response.body", "body": b""})


def _error(status: int, text: str) -> Answer:
    return Answer(answers.to_json({"error": text}), status=status)


async def _lost(request: Any, error: Any) -> Any:
    """404 and 405 of addresses that no route has."""
    from starlette.responses import Response

    text = "there is nothing at this address: see /openapi.json"
    if error.status_code == 405:
        text = f"{request.method} does not work here: see /openapi.json"
    return Response(
        answers.to_json({"error": text}),
        error.status_code,
        {**PLAIN_HEADERS, **(error.headers or {})},
        answers.JSON,
    )


def check_token(token: str, path: str, headers: Headers) -> None:
    """Raises Refused (401) unless the request has the server's token, where there is one.

    The page's own files hold nothing that is secret: they ask for the token.
    """
    if not token or path in OPEN or page.is_page(path):
        return
    given = headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Refused(401, "this server wants its token: send Authorization: Bearer <token>")


# ---- posts --------------------------------------------------------------------------------------


async def _body(service: Service, request: Request, limit: int) -> bytes:
    if not service.places.left:
        raise busy("the queue is full")
    if not request.model.ready:
        raise Refused(503, "the model is getting ready; try again later", 5)
    limits, declared = service.limits, request.headers.get("content-length")
    take = functools.partial(request.share.take, service.bodies)
    body = await read_body(request.receive, declared, limit, take, limits.body_seconds)
    request.unread = False
    return body


async def _inference(service: Service, request: Request) -> Answer:
    """{"image": [H][W][3]} -> {"prediction": ...}: the contract of the published app."""
    kind, _ = pictures.content_type(request.headers.get("content-type", ""))
    if kind not in ("", "application/json", "text/json", *pictures.RAW_TYPES[-2:]):
        raise Refused(415, f"{kind} is not JSON: send application/json")
    body = await _body(service, request, service.limits.json)

    async def work() -> Answer:
        limit = service.limits.pixels
        small = len(body) <= SMALL_BYTES
        parse = pictures.read_json
        picture = parse(body, limit) if small else await service.in_thread(parse, body, limit)
        request.share.take(service.pixels, picture.shape[0] * picture.shape[1])
        prediction = await service.predict(request.model, picture)
        return Answer(answers.published(prediction))

    return await _within(service, request, work())


async def _predict(service: Service, request: Request) -> Answer:
    """Pictures as bytes -> their records, or one of them as a picture."""
    kind, parameters = pictures.content_type(request.headers.get("content-type", ""))
    if kind not in (*pictures.RAW_TYPES, "multipart/form-data"):
        raise Refused(415, f"{kind[:60]}: {pictures.WRONG_TYPE}")
    asked = request.query.get("as") or _accepted(request.headers.get("accept", ""))
    arrays = request.query.get("with") == "arrays"
    body = await _body(service, request, service.limits.body)
    if kind != "multipart/form-data":
        if not body:
            raise Refused(400, "the body is empty: send the bytes of a picture")
        return await _within(service, request, _one(service, request, body, asked, arrays))
    boundary = parameters.get("boundary", "")
    files = await service.in_thread(pictures.read_multipart, body, boundary, service.limits.files)
    if len(files) == 1:
        data = files[0].data
        return await _within(service, request, _one(service, request, data, asked, arrays))
    if asked != "json":
        raise Refused(400, f"{len(files)} pictures give one JSON: send one to get a picture back")
    return await _within(service, request, _several(service, request, files, arrays))


def _accepted(accept: str) -> str:
    kinds = {"image/png": "picture", "image/*": "picture", answers.GEOJSON: "geojson"}
    first = accept.split(",")[0].split(";")[0].strip()
    return kinds.get(first, "json")


async def _one(service: Service, request: Request, data: bytes, kind: str, arrays: bool) -> Answer:
    limit = service.limits.pixels
    count = pictures.pixels_of(data, limit)
    request.share.take(service.pixels, count)
    if len(data) <= SMALL_BYTES and count <= SMALL_BYTES:
        picture = pictures.decode(data, limit, request.model.value_range)
    else:
        decoded = functools.partial(pictures.decode, data, limit, request.model.value_range)
        picture = await service.in_thread(decoded)
    prediction = await service.predict(request.model, picture)
    predictor = request.model.engine.predictor
    if kind == "json" and not arrays and not predictor.geojson:
        return answers.one(predictor, picture, prediction, kind, arrays)
    return await service.in_thread(answers.one, predictor, picture, prediction, kind, arrays)


async def _several(service: Service, request: Request, files: list, arrays: bool) -> Answer:
    """{"predictions": [...]} in the files' order; what cannot be read is told in its place."""

    async def told(file: pictures.File) -> tuple[int, bytes]:
        name = answers.to_json(file.name)
        try:
            answer = await _one(service, request, file.data, "json", arrays)
        except Refused as refused:
            if refused.status == 503:
                raise
            error = answers.to_json(refused.text)
            return refused.status, b'{"file":' + name + b',"error":' + error + b"}"
        rest = answer.body[1:] if answer.body == b"{}" else b"," + answer.body[1:]
        return 200, b'{"file":' + name + rest

    told_all = await asyncio.gather(*(told(file) for file in files))
    if all(status != 200 for status, _ in told_all):
        status = told_all[0][0]
        raise Refused(status, f"none of the {len(files)} files is a picture that can be read")
    parts = b",".join(part for _, part in told_all)
    return Answer(b'{"predictions":[' + parts + b"]}")


async def _within(service: Service, request: Request, work: Any) -> Answer:
    """Does the work in its place in the queue, until the deadline or until the client leaves."""
    loop, seconds, watches = asyncio.get_running_loop(), service.limits.deadline, []

    def watch() -> None:
        watches.append(asyncio.ensure_future(_stop_when_left(request.receive, timer)))

    try:
        request.share.take(service.places, 1)
        async with asyncio.timeout(seconds) as timer:
            # Most answers are there sooner, and a task to watch each client would be felt.
            soon = loop.call_later(WATCH_SECONDS, watch)
            try:
                return await work
            finally:
                soon.cancel()
    except TimeoutError:
        if watches and watches[0].done():
            raise Gone from None
        raise busy(f"no answer within {seconds:g} s") from None
    finally:
        work.close()
        for task in watches:
            task.cancel()


async def _stop_when_left(receive: Any, timer: asyncio.Timeout) -> None:
    """Has the timer end at once when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    timer.reschedule(asyncio.get_running_loop().time())


# ---- gets ---------------------------------------------------------------------------------------


async def _healthz(service: Service, request: Request) -> Answer:
    return Answer(answers.to_json({"alive": True}))


async def _readyz(service: Service, request: Request) -> Answer:
    models = {name: model.ready for name, model in service.models.items()}
    status = 200 if service.ready else 503
    return Answer(answers.to_json({"ready": service.ready, "models": models}), status=status)


async def _metrics(service: Service, request: Request) -> Answer:
    return Answer(service.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")


async def _models(service: Service, request: Request) -> Answer:
    listed = [openapi.describe(model) for model in service.models.values()]
    return Answer(answers.to_json({"models": listed}))


async def _model(service: Service, request: Request) -> Answer:
    return Answer(answers.to_json(openapi.describe(request.model)))


async def _openapi(service: Service, request: Request) -> Answer:
    return Answer(answers.to_json(openapi.document(service)))
