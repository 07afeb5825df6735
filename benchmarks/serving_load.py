"""Sends requests to a server, from a process of its own, and tells what came back.

    python -m benchmarks.serving_load \\
        '{"port": 8000, "path": "/predict", "body": "face.jpg", "clients": 16, "seconds": 3}'

Closed loop: each client sends its next request when the last was answered. With `rate` the loop is
open: requests go out at that many a second, whatever comes back, each on a connection that is free.
One JSON object goes to standard output.
"""

import asyncio
import collections
import json
import sys
import time
from pathlib import Path

import numpy as np


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection that is kept open; one request at a time."""

    def __init__(self):
        self.buffer, self.waiting, self.lost = b"", None, False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        headers = self.buffer[:head].lower()
        place = headers.find(b"content-length:")
        length = int(headers[place + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= head + 4 + length:
            status, self.buffer = int(self.buffer[9:12]), b""
            self._answer(status)

    def connection_lost(self, error):
        self.lost = True
        self._answer(0)

    def _answer(self, status):
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(status)

    async def ask(self, request: bytes) -> int:
        """The answer's status; 0 where the connection was lost."""
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiting


async def connect(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Connection, "127.0.0.1", port))[1]


async def closed_loop(port: int, request: bytes, clients: int, seconds: float, count: int) -> dict:
    """`clients` that each ask again and again, for `seconds` or `count` requests in all."""
    connections = [await connect(port) for _ in range(clients)]
    statuses, times, end, left = collections.Counter(), [], time.perf_counter() + seconds, count

    async def client(connection):
        nonlocal left
        while time.perf_counter() < end and left != 0:
            left -= 1
            start = time.perf_counter()
            status = await connection.ask(request)
            times.append(time.perf_counter() - start)
            statuses[status] += 1
            if connection.lost:
                return

    start = time.perf_counter()
    await asyncio.gather(*(client(connection) for connection in connections))
    return summary(statuses, times, times, time.perf_counter() - start)


async def open_loop(port: int, request: bytes, rate: float, count: int) -> dict:
    """`count` requests at `rate` a second; as many connections as are needed."""
    free, statuses, accepted, times = [], collections.Counter(), [], []

    async def one():
        connection = free.pop() if free else await connect(port)
        start = time.perf_counter()
        status = await connection.ask(request)
        times.append(time.perf_counter() - start)
        statuses[status] += 1
        if status == 200:
            accepted.append(times[-1])
        if not connection.lost:
            free.append(connection)

    start, tasks = time.perf_counter(), []
    for number in range(count):
        wait = start + number / rate - time.perf_counter()
        if wait > 0 or number % 50 == 0:
            await asyncio.sleep(max(wait, 0))
        tasks.append(asyncio.create_task(one()))
    sent = time.perf_counter() - start
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = sum(isinstance(result, Exception) for result in results)
    told = summary(statuses, accepted, times, time.perf_counter() - start)
    return {**told, "sent_a_second": count / sent, "lost": failed + statuses[0]}


def summary(statuses, accepted, times, seconds: float) -> dict:
    """Rates and latencies; those of accepted requests in milliseconds."""
    done = {str(status): n for status, n in sorted(statuses.items())}
    result = {"requests": sum(statuses.values()), "statuses": done, "seconds": seconds}
    result["a_second"] = statuses[200] / seconds
    if accepted:
        milliseconds = np.array(accepted) * 1e3
        result |= {f"p{p}_ms": float(np.percentile(milliseconds, p)) for p in (50, 99)}
        result["max_ms"] = float(max(times) * 1e3)
    return result


def main() -> None:
    options = json.loads(sys.argv[1])
    body = Path(options["body"]).read_bytes()
    kind = "application/json" if options["body"].endswith(".json") else "application/octet-stream"
    request = (
        f"POST {options['path']} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    port, count = options["port"], options.get("count", -1)
    if "rate" in options:
        work = open_loop(port, request, options["rate"], count)
    else:
        work = closed_loop(port, request, options["clients"], options.get("seconds", 1e9), count)
    print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()
