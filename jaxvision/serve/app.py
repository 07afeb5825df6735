"""The routes."""

import contextlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.routing import Route, WebSocketRoute

from jaxvision.serve import answers, live, openapi, page, posts
from jaxvision.serve.answers import Answer
from jaxvision.serve.limits import drain
from jaxvision.serve.refused import Gone, Refused
from jaxvision.serve.request import Request
from jaxvision.serve.service import Service

log = logging.getLogger("jaxvision.serve")
DRAIN_SECONDS = 2.0  # for what a refused client still sends
PLAIN_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
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

    endpoints = {"/inference": posts.inference, "/predict": posts.predict}
    gets = {"/healthz": _healthz, "/readyz": _readyz, "/metrics": _metrics, "/models": _models,
            "/models/{model}": _model, "/openapi.json": _openapi}  # fmt: skip
    routes = []
    for prefix in ("", "/models/{model}"):
        for path, endpoint in endpoints.items():
            routes.append(Route(prefix + path, _Endpoint(service, endpoint), methods=["POST"]))
        routes.append(WebSocketRoute(f"{prefix}/live", live.Live(service)))
        for path in page.FILES:
            routes.append(Route(prefix + path, _Endpoint(service, page.send), methods=["GET"]))
    for path, endpoint in gets.items():
        routes.append(Route(path, _Endpoint(service, endpoint), methods=["GET"]))
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _lost, 405: _lost})
    app.router.redirect_slashes = False
    return app


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
