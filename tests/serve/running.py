"""Servers for tests: in a thread of this process, at a free port, over real sockets."""

import asyncio
import contextlib
import http.client
import io
import json
import socket
import threading
import time

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.serve import run
from jaxvision.serve.app import make_app
from jaxvision.serve.limits import Limits
from jaxvision.serve.models import Engine
from jaxvision.serve.service import Model, Service, make_ready
from jaxvision.task import Prediction, Predictor, Prepared

SIDE, LIMITS = 8, Limits()


class Fake:
    """A model that answers with the mean of a picture's top left corner, as told.

    Attributes:
      batches: sizes of the batches so far.
      gate: predictions wait until it is set.
      seconds: that a batch takes.
      fails: raises while it is true.
    """

    def __init__(self):
        self.batches, self.seconds, self.fails = [], 0.0, False
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, inputs):
        self.gate.wait(30)
        time.sleep(self.seconds)
        self.batches.append(len(inputs))
        if self.fails:
            raise RuntimeError("the device is on fire")
        return {"mean": inputs.mean((1, 2, 3))}

    def engine(self):
        """The engine, whose masks are where a picture is bright."""

        def prepare(picture):
            if picture.max() == 13:
                raise UserError("nothing stands out")
            corner = np.zeros((SIDE, SIDE, 3), np.uint8)
            part = picture[:SIDE, :SIDE]
            corner[: part.shape[0], : part.shape[1]] = part
            return Prepared(corner[None], picture[..., 0] > 127)

        def decode(outputs, mask, fitted):
            record = {"mean": float(outputs["mean"][0]), "width": mask.shape[1]}
            return Prediction(record, {"mask": mask})

        def smoother(strength):
            if not strength > 0:
                raise UserError(f"strength={strength}: give a number above 0")
            seen = []

            def smooth(prediction, seconds):
                seen.append(prediction.record["mean"])
                record = {**prediction.record, "mean": sum(seen) / len(seen)}
                return prediction._replace(record=record)

            return smooth

        predictor = Predictor(
            prepare=prepare,
            decode=decode,
            render=lambda picture, prediction: 255 - picture,
            describe=str,
            write=None,
            extensions=(),
            geojson=lambda prediction, place: {"type": "FeatureCollection", "features": []},
            smoothers={"all": smoother},
        )
        info = {"classes": ["a", "b"]}
        return Engine("fake", predictor, self.predict, 1, info, {}, 7, "0123abcd", "cpu")


class Running:
    """A server in a thread; ends with the block.

    Attributes:
      service: its models and limits.
      port: where it listens.
    """

    def __init__(self, *served, limits=LIMITS, token="", ready=True, background=lambda service: []):
        self.service = Service(list(served), limits, token)
        if ready:
            for model in served:
                model.use(model.engine, make_ready(model.engine, model.batch_size))
                model.ready = True
        self.limits, self.background = limits, background

    def __enter__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.listening.getsockname()[1]
        app = make_app(self.service, lambda: self.background(self.service))
        self.server = run._Server(run.server_config(app, self.limits))
        self.server.capture_signals = contextlib.nullcontext  # not in the main thread
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[self.listening]))
        )
        self.thread.start()
        wait_until(lambda: self.server.started)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(40)
        assert not self.thread.is_alive()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path, body, kind="application/octet-stream"):
        """(status, the JSON of the answer)."""
        status, _, answer = self.ask("POST", path, body, {"Content-Type": kind})
        return status, json.loads(answer)

    def metric(self, name, **labels):
        """A value of /metrics."""
        return self.service.metrics.registry.get_sample_value(f"jaxvision_{name}", labels or None)


def serve_fake(fake, **options):
    """A `Running` with one fake model, 'fake'."""
    return Running(Model("fake", None, "", fake.engine()), **options)


def wait_until(condition, seconds=20.0):
    """Returns once a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def picture(value=100, height=SIDE, width=SIDE):
    """uint8 [H, W, 3] of one value."""
    return np.full((height, width, 3), value, np.uint8)


def png(pixels=None, kind="PNG"):
    """The bytes of a picture."""
    memory = io.BytesIO()
    Image.fromarray(picture() if pixels is None else pixels).save(memory, kind)
    return memory.getvalue()


def multipart(*files, boundary="xyz"):
    """A multipart body of (name, bytes), and its type."""
    head = 'Content-Disposition: form-data; name="f"; filename='
    parts = [
        f'--{boundary}\r\n{head}"{name}"\r\n\r\n'.encode()
        + data + b"\r\n"
        for name, data in files
    ]  # fmt: skip
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
