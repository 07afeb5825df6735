"""/openapi.json and /models: what this server answers, with its limits as they are."""

from importlib.metadata import version
from typing import Any

from jaxvision.serve import answers
from jaxvision.serve.pictures import RAW_TYPES

NUMBER, TEXT = {"type": "number"}, {"type": "string"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": TEXT, "id": {**TEXT, "description": "Of a failure, in the log."}},
}
PIXEL = {"type": "array", "items": {**NUMBER, "minimum": 0, "maximum": 255}, "minItems": 3,
         "maxItems": 3}  # fmt: skip
REFUSALS = {
    "400": "Malformed, or something that this model does not answer.",
    "401": "Without the server's token, where it asks for one.",
    "404": "No such model.",
    "408": "The body did not arrive in time.",
    "413": "Too large: the body, a picture's pixels, or the number of files.",
    "415": "Not a picture (or not JSON).",
    "422": "Damaged, or not what the model takes.",
    "500": "The prediction failed; `id` is in the server's log.",
    "503": "Busy, getting ready, or not done within the deadline: try again after Retry-After.",
}


def describe(model: Any) -> dict[str, Any]:
    """A model as /models tells it."""
    engine = model.engine
    return {
        "name": model.name,
        "task": engine.task,
        "step": engine.step,
        "digest": engine.digest,
        "ready": model.ready,
        "loaded": round(model.loaded, 3),
        "runs_on": engine.runs_on,
        "classes": list(engine.info.get("classes", ())),
        "fitted": engine.fitted,
        "answers": answers.kinds(engine.predictor),
        "smoothing": list(engine.predictor.smoothers),
        "batch": {"x".join(map(str, shape)): rows for shape, rows in model.largest.items()},
    }


def document(service: Any) -> dict[str, Any]:
    """OpenAPI 3.1 of every route."""
    names = {"name": "model", "in": "path", "required": True,
             "schema": {**TEXT, "enum": list(service.models)}}  # fmt: skip
    paths = {}
    for path, (method, operation) in _operations(service).items():
        paths[path] = {method: operation}
        if path in ("/inference", "/predict", "/live", "/", "/page.css", "/page.js"):
            named = {**operation, "parameters": [names, *operation.get("parameters", [])]}
            named["operationId"] = f"{operation['operationId']}_of"
            paths[f"/models/{{model}}{path}"] = {method: named}
    paths["/models/{model}"] = {
        "get": {**_get("one_model", "A model", _json({"type": "object"})), "parameters": [names]}
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "jaxvision", "version": version("jaxvision"),
                 "description": "Trained vision models. Without /models/{model} it is "
                 f"{service.first.name!r} that answers."},
        "paths": paths,
    }  # fmt: skip
    if service.token:
        schemes = {"token": {"type": "http", "scheme": "bearer"}}
        document |= {"components": {"securitySchemes": schemes}, "security": [{"token": []}]}
    return document


def _operations(service: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    ready = {"type": "object", "required": ["ready", "models"]}
    html, style, script = (_content(kind, TEXT) for kind in ("text/html", "text/css",
                                                             "text/javascript"))  # fmt: skip
    readyz = _get("readyz", "Whether every model's programs are compiled", _json(ready))
    readyz["responses"]["503"] = {"description": "Not yet.", **_json(ready)}
    return {
        "/inference": ("post", _inference(service)),
        "/predict": ("post", _predict(service)),
        "/live": ("get", _live(service)),
        "/": ("get", _get("page", "The page", html)),
        "/page.css": ("get", _get("style", "The page's style", style)),
        "/page.js": ("get", _get("script", "The page's program", script)),
        "/healthz": ("get", _get("healthz", "Alive", _json({"type": "object"}))),
        "/readyz": ("get", readyz),
        "/metrics": ("get", _get("metrics", "For Prometheus", _content("text/plain", TEXT))),
        "/models": ("get", _get("models", "The models", _json(_object(models={"type": "array"})))),
        "/openapi.json": ("get", _get("openapi", "This", _json({"type": "object"}))),
    }


def _inference(service: Any) -> dict[str, Any]:
    picture = {"type": "array", "items": {"type": "array", "items": PIXEL}}
    mask = {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0}}}
    answer = _object(prediction={"oneOf": [mask, {"type": "object"}]})
    return {
        "operationId": "inference",
        "summary": "A picture as JSON: a mask [H][W] of 0 and 1 or of the numbers of "
        "classes, or the record of other tasks",
        "description": f"At most {service.limits.json} bytes and {service.limits.pixels} pixels.",
        "requestBody": {"required": True, **_json(_object(image=picture))},
        "responses": _responses(_json(answer)),
    }


def _predict(service: Any) -> dict[str, Any]:
    limits, binary = service.limits, {"type": "string", "format": "binary"}
    bodies = {kind: {"schema": binary} for kind in RAW_TYPES if kind.startswith("image/")}
    bodies["application/octet-stream"] = {"schema": binary}
    files = {"type": "object", "properties": {"file": {"type": "array", "items": binary}}}
    bodies["multipart/form-data"] = {"schema": files}
    several = _object(predictions={"type": "array", "items": {"type": "object"}})
    content = {
        answers.JSON: {"schema": {"anyOf": [{"type": "object"}, several]}},
        answers.PNG: {"schema": binary},
        answers.GEOJSON: {"schema": {"type": "object"}},
    }
    kinds = sorted(
        {kind for m in service.models.values() for kind in answers.kinds(m.engine.predictor)}
    )
    return {
        "operationId": "predict",
        "summary": "Pictures as bytes: the record of one, or of several in their order",
        "description": f"PNG, JPEG, TIFF or WebP. At most {limits.body} bytes, {limits.pixels} "
        f"pixels a picture, {limits.files} files. Accept: image/png is as=picture.",
        "parameters": [
            {"name": "as", "in": "query", "schema": TEXT,
             "description": f"{', '.join(kinds)}, or the name of one of the arrays."},
            {"name": "with", "in": "query", "schema": {"enum": ["arrays"]},
             "description": "JSON with every array as a PNG (a data: address) under 'arrays'."},
        ],
        "requestBody": {"required": True, "content": bodies},
        "responses": _responses({"content": content}),
    }  # fmt: skip


def _live(service: Any) -> dict[str, Any]:
    names = sorted({n for m in service.models.values() for n in m.engine.predictor.smoothers})
    return {
        "operationId": "live",
        "summary": "A WebSocket: frames in, records out",
        "description": "Each binary message is a frame (JPEG, PNG, WebP; at most "
        f"{service.limits.frame} bytes). Each gets one JSON message with its number, from 0: "
        "{'frame': n, ...record}, {'frame': n, 'skipped': true} where a newer one came before its "
        "turn, or {'frame': n, 'error': ..., 'status': ...}.",
        "parameters": [
            {"name": "smoothing", "in": "query", "schema": {"enum": names or [""]}},
            {"name": "strength", "in": "query", "schema": {**NUMBER, "exclusiveMinimum": 0}},
            {"name": "with", "in": "query", "schema": {"enum": ["arrays"]}},
        ],
        "responses": {"101": {"description": "Send frames."},
                      **_refusals("400", "401", "403", "404", "503")},
    }  # fmt: skip


def _get(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": summary,
            "responses": {"200": {"description": summary, **content}}}  # fmt: skip


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "The answer.", **content}, **_refusals(*REFUSALS)}


def _refusals(*statuses: str) -> dict[str, Any]:
    told = {**REFUSALS, "403": "A page of another site."}
    return {status: {"description": told[status], **_json(ERROR)} for status in statuses}


def _content(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return _content(answers.JSON, schema)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
