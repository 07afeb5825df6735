"""What is done with pictures that are sent: POST /inference and POST /predict."""

import asyncio
import functools
from typing import Any

from jaxvision.input_pipeline.windows import georeference_of_bytes
from jaxvision.serve import answers, pictures
from jaxvision.serve.answers import Answer
from jaxvision.serve.limits import busy, read_body
from jaxvision.serve.refused import Gone, Refused
from jaxvision.serve.request import Request
from jaxvision.serve.service import SMALL_BYTES, Service

WATCH_SECONDS = 0.05  # after which it is looked whether a client is still there


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


async def inference(service: Service, request: Request) -> Answer:
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


async def predict(service: Service, request: Request) -> Answer:
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
    options = limit, request.model.value_range, request.model.engine.predictor.least_side
    if len(data) <= SMALL_BYTES and count <= SMALL_BYTES:
        picture = pictures.decode(data, *options)
    else:
        picture = await service.in_thread(functools.partial(pictures.decode, data, *options))
    prediction = await service.predict(request.model, picture)
    predictor = request.model.engine.predictor
    answer = functools.partial(answers.one, predictor, picture, prediction, kind, arrays)
    if kind == "json" and not arrays and not predictor.geojson:
        return answer()
    if not predictor.geojson:
        return await service.in_thread(answer)
    georeference = await service.in_thread(georeference_of_bytes, data)
    return await service.in_thread(answer, georeference)


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
