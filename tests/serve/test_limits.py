"""What a busy server does: bounded queues and times, and nothing that is accepted gets lost."""

import http.client
import json
import logging
import socket
import threading
import time

import numpy as np

from jaxvision.serve.limits import Limits
from jaxvision.serve.service import Model
from tests.serve.running import Fake, Running, multipart, picture, png, serve_fake, wait_until


def begin(running, body=None):
    """A POST that is sent, its answer not read."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request("POST", "/predict", png() if body is None else body)
    return connection


def in_work(running):
    return running.limits.places - running.service.places.left


def occupy(running):
    """A POST that is with the model; what comes next waits."""
    connection = begin(running)
    wait_until(lambda: in_work(running) == 1 and running.service.first.batches.rows == 0)
    return connection


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    fake = Fake()
    with serve_fake(fake, limits=Limits(places=3)) as running:
        fake.gate.clear()
        waiting = [begin(running) for _ in range(3)]
        wait_until(lambda: in_work(running) == 3)
        for body in (png(), png(np.zeros((900, 900, 3), np.uint8)) + b"\0" * 500_000):
            status, headers, answer = running.ask("POST", "/predict", body)
            assert status == 503 and int(headers["retry-after"]) >= 1
            assert "queue is full" in json.loads(answer)["error"]
        fake.gate.set()
        assert [connection.getresponse().status for connection in waiting] == [200] * 3
        assert running.post("/predict", png())[0] == 200


def test_a_refused_client_may_go_on_with_its_connection():
    fake = Fake()
    with serve_fake(fake, limits=Limits(places=1)) as running:
        fake.gate.clear()
        waiting = occupy(running)
        connection = begin(running, png() + b"\0" * 200_000)
        answer = connection.getresponse()
        assert answer.status == 503 and answer.read()
        fake.gate.set()
        assert waiting.getresponse().status == 200
        wait_until(lambda: in_work(running) == 0)
        connection.request("POST", "/predict", png())
        assert connection.getresponse().status == 200


def test_a_request_past_its_deadline_is_refused_and_leaves_the_queue():
    fake = Fake()
    with serve_fake(fake, limits=Limits(deadline=0.3)) as running:
        fake.gate.clear()
        first = occupy(running)
        for connection in (first, begin(running)):
            answer = connection.getresponse()
            assert answer.status == 503 and "no answer within 0.3 s" in answer.read().decode()
        fake.batches.clear()
        fake.gate.set()
        assert running.post("/predict", png(picture(50)))[1]["mean"] == 50
        assert in_work(running) == 0 and fake.batches == [1, 1]  # the second never got there


def test_what_would_wait_longer_than_the_deadline_is_not_taken_on():
    fake = Fake()
    with serve_fake(fake, limits=Limits(deadline=2.0)) as running:
        batches = running.service.first.batches
        fake.gate.clear()
        waiting = occupy(running)
        batches.rows, batches.seconds_a_row = batches.rows + 100, 0.1
        status, headers, answer = running.ask("POST", "/predict", png())
        assert status == 503 and int(headers["retry-after"]) >= 10
        batches.rows -= 100
        fake.gate.set()
        assert waiting.getresponse().status == 200


def test_a_client_that_goes_away_frees_its_place():
    fake = Fake()
    with serve_fake(fake) as running:
        fake.gate.clear()
        kept, gone = occupy(running), [begin(running) for _ in range(5)]
        wait_until(lambda: in_work(running) == 6)
        for connection in gone:
            connection.close()
        wait_until(lambda: in_work(running) == 1)
        fake.batches.clear()
        fake.gate.set()
        assert kept.getresponse().status == 200
        assert running.post("/predict", png())[0] == 200
        assert fake.batches == [1, 1]  # what those who left waited for was never predicted
        assert running.metric("requests_total", model="fake", endpoint="predict", status="499") == 5


def test_a_client_that_leaves_while_it_sends_frees_its_memory():
    with serve_fake(Fake()) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n"
            )
            connection.sendall(b"x" * 50_000)
            wait_until(lambda: running.service.bodies.left < running.limits.bodies)
        wait_until(lambda: running.service.bodies.left == running.limits.bodies)


def test_bodies_share_a_budget_of_memory():
    limits = Limits(bodies=100_000)
    with serve_fake(Fake(), limits=limits) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n"
            )
            connection.sendall(b"x" * 90_000)
            wait_until(lambda: running.service.bodies.left == 10_000)
            assert running.post("/predict", png() + b"\0" * 50_000)[0] == 503
            assert running.post("/predict", png())[0] == 200
        wait_until(lambda: running.service.bodies.left == limits.bodies)


def test_pictures_share_a_budget_of_memory():
    fake, limits = Fake(), Limits(pixels=500, all_pixels=600)
    with serve_fake(fake, limits=limits) as running:
        fake.gate.clear()
        waiting = begin(running, png(picture(1, 20, 20)))
        wait_until(lambda: running.service.pixels.left == 200)
        assert running.post("/predict", png(picture(1, 20, 20)))[0] == 503
        fake.gate.set()
        assert waiting.getresponse().status == 200
        # Several in one request share it too: one is refused, none is lost.
        status, answer = running.post("/predict", *multipart(*[("a", png(picture(1, 20, 20)))] * 2))
        assert status == 503 and "memory for pictures" in answer["error"]
        wait_until(lambda: running.service.pixels.left == limits.all_pixels)


def test_a_prediction_that_fails_is_told_with_an_id_and_the_server_goes_on(caplog):
    fake = Fake()
    with serve_fake(fake) as running, caplog.at_level(logging.ERROR, "jaxvision.serve"):
        fake.fails = True
        status, answer = running.post("/predict", png())
        assert status == 500 and answer["id"] in caplog.text
        assert "the device is on fire" in caplog.text and "fire" not in answer["error"]
        fake.fails = False
        assert running.post("/predict", png())[0] == 200
        assert running.metric("errors_total", model="fake") == 1


def test_a_picture_of_many_tiles_delays_small_ones_by_a_batch_not_by_all_its_own():
    fake = Fake()
    engine = fake.engine()
    tiles = engine.predictor.prepare

    def prepare(picture):
        prepared = tiles(picture)
        count = 400 if picture.shape[0] > 100 else 1
        return prepared._replace(inputs=np.repeat(prepared.inputs, count, axis=0))

    engine = engine._replace(predictor=engine.predictor._replace(prepare=prepare))
    with Running(Model("fake", None, "", engine)) as running:
        fake.seconds = 0.02
        large = begin(running, png(picture(5, 120, 120)))
        wait_until(lambda: running.service.first.batches.rows > 100)
        start = time.monotonic()
        assert running.post("/predict", png(picture(70)))[1]["mean"] == 70
        small = time.monotonic() - start
        assert running.service.first.batches.rows > 0  # the large one still waits
        answer = json.loads(large.getresponse().read())
        assert answer["mean"] == 5 and small < time.monotonic() - start
        assert max(fake.batches) == 8


def test_stopping_answers_what_was_accepted():
    fake = Fake()
    with serve_fake(fake) as running:
        fake.gate.clear()
        waiting = [begin(running) for _ in range(5)]
        idle = http.client.HTTPConnection("127.0.0.1", running.port)
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        wait_until(lambda: in_work(running) == 5)
        running.server.should_exit = True
        wait_until(lambda: not running.server.servers[0].is_serving())
        threading.Timer(0.2, fake.gate.set).start()
        assert [connection.getresponse().status for connection in waiting] == [200] * 5


def test_a_better_checkpoint_takes_over_without_a_failed_request():
    """The engine is exchanged while requests are under way; each gets an answer of one of them."""
    old, new = Fake(), Fake()
    better = new.engine()._replace(step=8)
    with serve_fake(old) as running:
        model, statuses, stop = running.service.first, [], threading.Event()

        def ask():
            while not stop.is_set():
                statuses.append(running.post("/predict", png())[0])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) > 20)
        old.gate.clear()  # some are with the old one while the new one comes
        model.use(better, dict(model.largest))
        wait_until(lambda: new.batches or running.service.first.batches.rows >= 0)
        old.gate.set()
        wait_until(lambda: len(statuses) > 60)
        stop.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200} and new.batches
        assert json.loads(running.ask("GET", "/models")[2])["models"][0]["step"] == 8
