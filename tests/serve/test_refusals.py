"""What is wrong with a request is said in one line, while good requests go on undisturbed."""

import concurrent.futures
import json
import socket
import struct
import time
import zlib

import numpy as np
import pytest

from jaxvision.serve.limits import Limits
from tests.serve.running import Fake, multipart, picture, png, serve_fake

LIMITS = Limits(
    body=200_000, json=100_000, pixels=10_000, files=3, body_seconds=0.5, deadline=5.0, frame=50_000
)
JSON, RAW, FORM = "application/json", "application/octet-stream", "multipart/form-data"


def huge(width, height):
    """A PNG whose header announces far more pixels than it holds."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def images(*texts):
    """Bodies of /inference, each with something wrong inside 'image'."""
    return [f'{{"image": {text}}}'.encode() for text in texts]


NOISE = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
GOOD = png(NOISE)
WRONG_JSON = images(
    "[[[1,2,NaN]]]", "[[[1,2,Infinity]]]", "[[[1 2,3,4]]]", "[[[1,,3]]]", "[[[01,2,3]]]",
    "[[[1,2,3],]]", "[[[1,2,3]]", "[5[[1,2,3]]]", "[[[1,2,3]]5]", "[[[1,2,3]]]]", "[" * 50_000,
)  # fmt: skip
WRONG_IMAGE = images(
    "[]", "[[]]", "[[[]]]", "5", "null", '"AAAA"', '{"a": 1}', "[[1,2,3],[4,5,6]]", "[[[1,2]]]",
    "[[[1,2,3,4]]]", "[[[1]]]", "[[[1,2,3]],[[1,2,3],[4,5,6]]]", "[[[1,2,3],[4,5]]]",
    "[[[1,2,300]]]", "[[[-1,2,3]]]", "[[[1,2,1e300]]]", "[[[1,2,true]]]", "[[[1,2,null]]]",
    '[[[1,2,"3"]]]', "[[[1,2,[3]]]]", "[[[[1,2,3]]]]", "[[[13,13,13]]]",
)  # fmt: skip
BAD = [
    *[("/inference", JSON, body, 400) for body in (*WRONG_JSON, b"", b"{", b"\xff\xfe", GOOD)],
    *[("/inference", JSON, body, 422) for body in (*WRONG_IMAGE, b"[]", b"{}", b"7")],
    ("/inference", JSON, b'{"image": [' + b" " * 120_000 + b"]}", 413),
    ("/inference", JSON, json.dumps({"image": picture(1, 1, 10_001).tolist()}).encode(), 413),
    ("/inference", "image/png", GOOD, 415),
    ("/inference", "text/html", b"<p>", 415),
    ("/predict", RAW, b"", 400),
    *[("/predict", RAW, b, 415) for b in (b"x", b"%PDF-1.7 ...", b"GIF89a" + b"\0" * 40,
                                          b"<svg/>", b"\x80\x04\x95pickle", b"PK\3\4zip")],
    *[("/predict", kind, GOOD, 415) for kind in ("text/html", JSON, "image/svg+xml", "video/mp4")],
    *[("/predict", RAW, GOOD[:n], 422) for n in (9, 30, len(GOOD) // 2)],
    ("/predict", RAW, png(NOISE, "JPEG")[:300], 422),
    ("/predict", RAW, png(NOISE, "WEBP")[:200], 422),
    ("/predict", RAW, png(NOISE, "TIFF")[:400], 422),
    ("/predict", RAW, png(picture(13)), 422),
    *[("/predict", RAW, huge(*size), 413) for size in ((101, 100), (60_000, 60_000))],
    ("/predict", RAW, b"\x89PNG" + b"\0" * 300_000, 413),
    ("/predict", FORM, GOOD, 400),
    ("/predict", FORM + "; boundary=xyz", GOOD, 400),
    ("/predict", FORM + "; boundary=xyz", multipart(("a", GOOD))[0][:-9], 400),
    ("/predict", FORM + "; boundary=xyz", b"--xyz--\r\n", 400),
    ("/predict", *multipart(*[("a", png())] * 4)[::-1], 413),
    ("/predict", *multipart(("a", b"x"), ("b", b"y"))[::-1], 415),
    ("/models/none/predict", RAW, GOOD, 404),
    ("/predict?as=poem", RAW, GOOD, 400),
]  # fmt: skip


def raw(port, data, *, then=b"", every=0.0, seconds=10.0):
    """Sends bytes, then `then` again and again; the first line of the answer and its JSON."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        connection.setblocking(False)
        answer, end = b"", time.monotonic() + seconds
        while time.monotonic() < end and b"}" not in answer:
            try:
                if then:
                    connection.send(then)
            except BlockingIOError:
                pass
            except OSError:  # the server has closed it; what it said is still there
                then = b""
            time.sleep(every or 0.001)
            try:
                piece = connection.recv(65536)
                answer += piece
                if not piece:
                    break
            except BlockingIOError:
                continue
    status = int(answer.split(b" ", 2)[1])
    return status, json.loads(answer.partition(b"\r\n\r\n")[2])


def head(kind, length, path="/predict"):
    """Headers of a POST."""
    lines = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{length}\r\n\r\n"
    return lines.encode()


CHUNKED = "transfer-encoding: chunked"
ENDLESS = [
    (head(RAW, CHUNKED), b"2000\r\n" + b"x" * 0x2000 + b"\r\n", 0.0, 413),
    (head(FORM + "; boundary=xyz", CHUNKED), b"7\r\n--xyz\r\n\r\n", 0.02, 408),
    (head(FORM + "; boundary=xyz", CHUNKED), b"800\r\n" + b"--xyz\r\n\n" * 256 + b"\r\n", 0.0, 413),
    (head(JSON, "content-length: 90000", "/inference"), b"[", 0.05, 408),
    (head(RAW, "content-length: 90000"), b"", 0.05, 408),
    (head(RAW, "content-length: 99999999999"), b"", 0.05, 413),
    (b"nonsense\r\n\r\n", b"", 0.05, 400),
    (b"GET / HTTP/1.1\r\n", b"a: " + b"b" * 4000 + b"\r\n", 0.0, 431),
]  # fmt: skip


def test_sixty_bad_requests_are_refused_and_no_good_one_is_disturbed():
    fake = Fake()
    fake.seconds = 0.002
    assert len(BAD) + len(ENDLESS) >= 60
    with (
        serve_fake(fake, limits=LIMITS) as running,
        concurrent.futures.ThreadPoolExecutor(24) as pool,
    ):

        def good(number):
            value = 20 + number % 200
            status, answer = running.post("/predict", png(picture(value)))
            return status, answer.get("mean"), value

        def bad(path, kind, body, expected):
            status, answer = running.post(path, body, kind)
            return status, answer["error"], (path, kind, body[:40], expected)

        goods = [pool.submit(good, number) for number in range(300)]
        bads = [pool.submit(bad, *one) for one in BAD]
        endless = [
            pool.submit(raw, running.port, start, then=then, every=every)
            for start, then, every, _ in ENDLESS
        ]
        for future in bads:
            status, told, (*what, expected) = future.result()
            assert status == expected, (status, told, what)
            assert told and "\n" not in told and len(told) < 400, what
        for future in goods:
            status, mean, value = future.result()
            assert status == 200 and mean == value
        for future, (start, *_, expected) in zip(endless, ENDLESS, strict=True):
            if expected == 400:
                continue  # no HTTP at all: uvicorn's own line, which is no JSON
            status, answer = future.result()
            assert status == expected, (start, answer)
            assert answer["error"]
        assert running.ask("GET", "/healthz")[0] == 200
        assert running.service.places.left == LIMITS.places
        assert running.service.bodies.left == LIMITS.bodies
        assert running.service.pixels.left == LIMITS.all_pixels


def test_a_request_that_is_no_http_is_refused():
    with (
        serve_fake(Fake()) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as connection,
    ):
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("body", [huge(60_000, 60_000), huge(101, 100)])
def test_pillows_own_limit_is_not_what_protects(body, monkeypatch):
    """A process may have switched it off, or have it far lower than the server's."""
    from PIL import Image

    for limit in (None, 100, 2**40):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with serve_fake(Fake(), limits=LIMITS) as running:
            assert running.post("/predict", body)[0] == 413
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            assert running.post("/predict", GOOD)[0] == (200 if limit != 100 else 413)
