"""A client of `--mode=serve` (extra [serve]): pictures, folders, frames of a camera.

    from jaxvision.client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict("face.jpg"))
        for path, answer in client.predict_files(["a.jpg", "b.jpg"], concurrency=8):
            print(path, answer)

Needs nothing else of jaxvision, neither jax nor numpy.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jaxvision.errors import UserError

TRIES = 5  # of a request that a busy server refuses
LONGEST_WAIT = 30.0  # seconds before one of them


class Refused(UserError):
    """The server refused a request, or failed at it.

    Attributes:
      status: of HTTP.
    """

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Client:
    """Calls one server, from any number of threads.

    Args:
      address: of the server, as http://127.0.0.1:8000.
      model: the name of one of its models; '': its first.
      token: that the server asks for; '': none.
      timeout: seconds that an answer may take.

    Raises:
      UserError: a package of the extra [serve] is missing.
    """

    def __init__(self, address: str, model: str = "", token: str = "", timeout: float = 60.0):
        try:
            import httpx
        except ImportError as error:
            raise UserError('the client needs httpx: pip install -e ".[serve]"') from error
        self._root = address.rstrip("/") + (f"/models/{model}" if model else "")
        self._token = token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._failed = httpx.TransportError
        self._http = httpx.Client(headers=headers, timeout=timeout, limits=limits)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()

    def predict(self, picture: str | Path | bytes) -> dict[str, Any]:
        """The record of a picture: a file's path, or its content.

        Raises:
          Refused: by the server.
          UserError: the file cannot be read, or the server does not answer.
        """
        return self._post("/predict", _content(picture)).json()

    def picture(self, picture: str | Path | bytes, kind: str = "picture") -> bytes:
        """The answer drawn into the picture, or one of its arrays (as 'mask'): a PNG.

        Raises:
          as `predict`.
        """
        return self._post("/predict", _content(picture), params={"as": kind}).content

    def inference(self, image: Any) -> Any:
        """What the published servers answered: a mask of 0 and 1, or the record of other tasks.

        Args:
          image: [H][W][3] of numbers from 0 to 255: nested lists, or an array with `tolist`.

        Raises:
          Refused: by the server.
        """
        rows = image.tolist() if hasattr(image, "tolist") else image
        body = json.dumps({"image": rows}, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"}
        return self._post("/inference", body, headers=headers).json()["prediction"]

    def predict_files(
        self, paths: Iterable[str | Path], concurrency: int = 8
    ) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yields (path, record) of each file, in their order; {'error': ...} of one that fails.

        Files are read a few ahead, `concurrency` of them are on their way at once.
        """

        def one(path: Path) -> dict[str, Any]:
            try:
                return self.predict(path)
            except UserError as error:
                return {"error": str(error)}

        with ThreadPoolExecutor(concurrency) as threads:
            waiting = deque()
            for path in map(Path, paths):
                waiting.append((path, threads.submit(one, path)))
                if len(waiting) > 2 * concurrency:
                    path, answer = waiting.popleft()
                    yield path, answer.result()
            for path, answer in waiting:
                yield path, answer.result()

    def live(
        self, frames: Iterable[bytes], smoothing: str = "", strength: float = 1.0
    ) -> Iterator[dict[str, Any]]:
        """Yields the server's answer to each frame, as they come.

        Each has 'frame', the number of its frame from 0. Where frames come faster than they are
        predicted, {'frame', 'skipped': True} is the answer to all but the newest.

        Args:
          frames: contents of JPEG, PNG or WebP files; an iterator may wait between them.
          smoothing, strength: over time, as /models says that the model knows.

        Raises:
          UserError: the server does not take the connection, or ends it.
        """
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        query = f"?smoothing={smoothing}&strength={strength}" if smoothing else ""
        address = "ws" + self._root.removeprefix("http") + "/live" + query
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            with connect(address, additional_headers=headers, max_size=None) as socket:
                sender = _Sender(socket, frames)
                sender.start()
                answered = 0
                while not sender.finished or answered < sender.sent:
                    try:
                        answer = json.loads(socket.recv(timeout=0.1))
                    except TimeoutError:
                        continue
                    answered += 1
                    yield answer
                if sender.error:
                    raise sender.error
        except (WebSocketException, OSError) as error:
            raise UserError(f"no live answers from {address}: {error}") from error

    def _post(self, path: str, body: bytes, **options: Any) -> Any:
        """The server's answer; a busy server is asked again, when it says."""
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._http.post(self._root + path, content=body, **options)
            except self._failed as error:
                raise UserError(f"{self._root} does not answer: {error}") from error
            if answer.is_success:
                return answer
            if answer.status_code != 503 or attempt == TRIES:
                raise Refused(answer.status_code, _reason(answer))
            wait = answer.headers.get("retry-after", "1")
            time.sleep(min(float(wait) if wait.isdecimal() else 1.0, LONGEST_WAIT))


class _Sender(threading.Thread):
    """Sends frames while their answers are read.

    Attributes:
      sent: frames so far.
      finished: whether that is all.
      error: what ended it early.
    """

    def __init__(self, socket: Any, frames: Iterable[bytes]):
        super().__init__(daemon=True)
        self.sent, self.finished, self.error = 0, False, None
        self._socket, self._frames = socket, frames

    def run(self) -> None:
        try:
            for frame in self._frames:
                self._socket.send(frame)
                self.sent += 1
        except Exception as error:  # told by the thread that reads answers
            self.error = error
        finally:
            self.finished = True


def _content(picture: str | Path | bytes) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise UserError(f"{picture}: {error.strerror}") from error


def _reason(answer: Any) -> str:
    try:
        told = answer.json()
        return told["error"] + (f" (id {told['id']})" if "id" in told else "")
    except (ValueError, KeyError, TypeError):  # not this server's answer
        return f"status {answer.status_code}"
