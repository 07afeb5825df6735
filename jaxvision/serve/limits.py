"""What a request may cost: its size, its time, its place among the others."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxvision.serve.refused import Gone, Refused


class Limits(NamedTuple):
    """What is taken on.

    Attributes:
      body: bytes of one request.
      json: bytes of one JSON request; its numbers take some ten times that while it is read.
      bodies: bytes of all requests that are held at once.
      pixels: of one picture; its header tells before it is decoded.
      all_pixels: of all pictures in work at once; about 20 bytes each.
      files: of one multipart request.
      places: requests that are waiting or in work.
      body_seconds: until a body must have arrived.
      deadline: seconds until a request that has arrived is answered, or refused.
      frame: bytes of one frame of a camera.
      cameras: live connections.
      connections: in all.
    """

    body: int = 32 * 2**20
    json: int = 16 * 2**20
    bodies: int = 256 * 2**20
    pixels: int = 2**25
    all_pixels: int = 2**26
    files: int = 32
    places: int = 128
    body_seconds: float = 20.0
    deadline: float = 10.0
    frame: int = 4 * 2**20
    cameras: int = 32
    connections: int = 1000


class Budget:
    """An amount that requests share (bytes, pixels, places).

    Attributes:
      left: what is not taken.
    """

    def __init__(self, total: int, what: str):
        self.left, self.what = total, what


class Share:
    """What one request has taken of budgets; given back when its block ends."""

    def __init__(self):
        self._taken: list[tuple[Budget, int]] = []

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, *_: Any) -> None:
        for budget, amount in self._taken:
            budget.left += amount

    def take(self, budget: Budget, amount: int) -> None:
        """Raises Refused (503) where there is not enough left."""
        if amount > budget.left:
            raise busy(f"the server is busy: no {budget.what} left")
        budget.left -= amount
        self._taken.append((budget, amount))


def busy(text: str, seconds: float = 1.0) -> Refused:
    """A refusal for now."""
    return Refused(503, f"{text}; try again later", max(1, round(seconds)))


async def read_body(
    receive: Any, declared: str | None, limit: int, take: Callable[[int], None], seconds: float
) -> bytes:
    """The whole body of a request; checked while it arrives.

    Args:
      receive: of ASGI.
      declared: its Content-Length.
      limit: bytes.
      take: is told the bytes of each piece before it is kept.
      seconds: until it must be there.

    Raises:
      Refused: too large (413), too slow (408), or too much at once (503).
      Gone: the client left.
    """
    too_large = Refused(413, f"the body is larger than {limit // 2**20} MiB: send less at once")
    if declared and declared.isdecimal() and int(declared) > limit:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large
                take(len(chunk))
                chunks.append(chunk)
                if not message.get("more_body"):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise Refused(
            408, f"the body did not arrive within {seconds:g} s ({size} bytes did): send it faster"
        ) from None


async def drain(receive: Any, limit: int, seconds: float) -> None:
    """Reads what a refused client still sends, so that it comes to read its answer; bounded."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while limit > 0:
                message = await receive()
                limit -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
