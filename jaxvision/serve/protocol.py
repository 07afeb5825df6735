"""uvicorn's HTTP protocol with the limits that it lacks: on headers, and on connections."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jaxvision.serve.limits import Limits

HEADER_SECONDS = 10.0
HEADER_BYTES = 2**15


def protocol_for(limits: Limits) -> type[asyncio.Protocol]:
    """A protocol that refuses what exceeds the limits before there is a request."""

    class Protocol(HttpToolsProtocol):
        """Closes connections whose headers are too slow (408) or too long (431), or too many."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._header_bytes = 0
            self._waits_for_headers()
            if len(self.connections) > limits.connections:
                self._refuse(
                    "503 Service Unavailable", "too many connections", "retry-after: 1\r\n"
                )

        def connection_lost(self, exc: Exception | None) -> None:
            self._slow.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._in_headers:
                self._header_bytes += min(len(data), HEADER_BYTES)
            super().data_received(data)
            if self._in_headers and self._header_bytes > HEADER_BYTES:
                self._refuse("431 Request Header Fields Too Large", "the headers are too long")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._waits_for_headers()

        def on_headers_complete(self) -> None:
            self._slow.cancel()
            self._in_headers, self._header_bytes = False, 0
            super().on_headers_complete()

        def _waits_for_headers(self) -> None:
            if getattr(self, "_slow", None):
                self._slow.cancel()
            self._in_headers = True
            self._slow = self.loop.call_later(HEADER_SECONDS, self._too_slow)

        def _too_slow(self) -> None:
            self._refuse("408 Request Timeout", f"no headers within {HEADER_SECONDS:g} s")

        def _refuse(self, status: str, text: str, extra: str = "") -> None:
            if self.transport.is_closing():
                return
            body = f'{{"error":"{text}"}}'
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{extra}"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write((head + body).encode())
            self.transport.close()

    return Protocol
