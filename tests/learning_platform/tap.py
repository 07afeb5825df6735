"""Between browser and platform: every byte that the browser sends is kept.

What a browser's own tools tell of its requests leaves out bodies that are no text.
"""

import contextlib
import re
import socket
import threading


class Tap:
    """Listens at `url` and passes everything on to a port of this machine."""

    def __init__(self, port: int):
        self.port, self.streams = port, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                browser, _ = self.server.accept()
                platform = socket.create_connection(("127.0.0.1", self.port))
                sent = bytearray()
                self.streams.append(sent)
                for pair in ((browser, platform, sent), (platform, browser, None)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source, target, kept) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if kept is not None:
                    kept += data
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def requests(self) -> list[tuple[str, str, bytes]]:
        """Everything sent so far, as (method, path, body); a stream that is no HTTP fails here."""
        found = []
        for stream in [bytes(stream) for stream in self.streams]:
            while stream:
                head, end, rest = stream.partition(b"\r\n\r\n")
                method, path, version = head.split(b"\r\n")[0].decode().split(" ")
                assert end and version == "HTTP/1.1" and b"chunked" not in head.lower()
                length = re.search(rb"content-length: *(\d+)", head.lower())
                size = int(length[1]) if length else 0
                found.append((method, path, rest[:size]))
                stream = rest[size:]
        return found
