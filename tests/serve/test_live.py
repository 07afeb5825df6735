"""Cameras over real WebSockets."""

import json

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jaxvision.serve.limits import Limits
from tests.serve.running import Fake, picture, png, serve_fake, wait_until


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def running(fake):
    with serve_fake(fake, limits=Limits(cameras=2, frame=50_000)) as running:
        yield running


def live(running, query="", **options):
    return connect(f"ws://127.0.0.1:{running.port}/live{query}", **options)


def receive(socket):
    return json.loads(socket.recv(timeout=10))


def test_each_frame_is_answered_under_its_number(running):
    with live(running) as socket:
        for number, value in enumerate((50, 60, 70)):
            socket.send(png(picture(value), "JPEG"))
            answer = receive(socket)
            assert answer["frame"] == number and answer["mean"] == pytest.approx(value, abs=1)
    wait_until(lambda: running.service.cameras == 0)
    assert running.metric("frames_total", model="fake", answer="predicted") == 3


def test_only_the_newest_waiting_frame_is_predicted(running, fake):
    with live(running) as socket:
        fake.gate.clear()
        socket.send(png(picture(10)))
        wait_until(lambda: running.limits.places - running.service.places.left == 1)
        for value in (20, 30, 40, 50):
            socket.send(png(picture(value)))
        skipped = [receive(socket) for _ in range(3)]
        assert skipped == [{"frame": number, "skipped": True} for number in (1, 2, 3)]
        fake.gate.set()
        first, last = receive(socket), receive(socket)
        assert (first["frame"], first["mean"]) == (0, 10)
        assert (last["frame"], last["mean"]) == (4, 50)


def test_a_frame_that_is_wrong_is_told_and_the_camera_goes_on(running, fake):
    with live(running) as socket:
        socket.send(b"no picture")
        answer = receive(socket)
        assert answer["frame"] == 0 and answer["status"] == 415
        socket.send("text")
        assert "binary" in receive(socket)["error"]
        socket.send(png()[:40])
        answer = receive(socket)
        assert answer["frame"] == 1 and answer["status"] == 422
        fake.fails = True
        socket.send(png())
        answer = receive(socket)
        assert answer["status"] == 500 and answer["id"]
        fake.fails = False
        socket.send(png())
        assert receive(socket)["mean"] == 100


def test_answers_are_smoothed_over_time_where_asked(running):
    with live(running, "?smoothing=all&strength=2") as socket:
        means = []
        for value in (10, 20, 60):
            socket.send(png(picture(value)))
            means.append(receive(socket)["mean"])
        assert means == [10, 15, 30]


@pytest.mark.parametrize(
    ("query", "options", "status"),
    [
        ("?smoothing=psychic", {}, 400),
        ("?smoothing=all&strength=0", {}, 400),
        ("?smoothing=all&strength=much", {}, 400),
        ("", {"origin": "http://evil.example"}, 403),
    ],
)
def test_a_connection_that_cannot_be_is_refused_with_a_reason(running, query, options, status):
    with pytest.raises(InvalidStatus) as error, live(running, query, **options):
        pass
    assert error.value.response.status_code == status
    assert json.loads(error.value.response.body)["error"]


def test_no_more_cameras_than_the_limit(running):
    with live(running), live(running):
        with pytest.raises(InvalidStatus) as error, live(running):
            pass
        assert error.value.response.status_code == 503
    wait_until(lambda: running.service.cameras == 0)
    with live(running):
        pass


def test_a_token_comes_as_a_subprotocol_or_a_header():
    with serve_fake(Fake(), token="secret-secret-secret") as running:
        for options in (
            {"subprotocols": ["jaxvision", "token.secret-secret-secret"]},
            {"additional_headers": {"Authorization": "Bearer secret-secret-secret"}},
        ):
            with live(running, **options) as socket:
                socket.send(png())
                assert receive(socket)["mean"] == 100
        for options in ({}, {"subprotocols": ["jaxvision", "token.wrong"]}):
            with pytest.raises(InvalidStatus) as error, live(running, **options):
                pass
            assert error.value.response.status_code == 401


def test_a_camera_that_leaves_frees_its_place(running, fake):
    with live(running) as socket:
        fake.gate.clear()
        socket.send(png())
        wait_until(lambda: running.service.places.left == running.limits.places - 1)
    wait_until(lambda: running.service.places.left == running.limits.places)
    wait_until(lambda: running.service.cameras == 0)
    fake.gate.set()
    assert running.post("/predict", png())[0] == 200
